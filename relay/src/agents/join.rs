//! A box joins: its token and its key go to the control API, and the answer back to the box.

use postern_protocol::tunnel::Connection;
use postern_protocol::wire::frame::SMALL;
use postern_protocol::wire::greeting::{Greeting, update_sentence};
use postern_protocol::wire::io::{receive_first, send};
use postern_protocol::wire::{JoinAnswer, JoinRequest, VERSION};
use tokio::time::timeout;

use super::{Agents, PATIENCE};
use crate::api::ApiError;
use crate::metrics::Code;

const DONE: u32 = 0;

/// Serves one box that joins.
pub(super) async fn serve(agents: &Agents, connection: Connection) {
    let code = match timeout(PATIENCE * 2, converse(agents, &connection)).await {
        Ok(Some(code)) => code,
        Ok(None) => "broken",
        Err(_) => "timed_out",
    };
    agents.metrics.joins.get_or_create(&Code { code }).inc();
    connection.close(DONE, "");
}

async fn converse(agents: &Agents, connection: &Connection) -> Option<&'static str> {
    let (mut to_box, mut from_box) = connection.accept().await.ok()?;
    let request = receive_first::<_, JoinRequest>(&mut from_box, SMALL).await.ok()?;
    let (code, answer) = answer(agents, request).await;
    send(&mut to_box, &answer).await.ok()?;
    to_box.finish().await;
    // Closing now would take back what is on its way.
    to_box.delivered().await;
    Some(code)
}

async fn answer(agents: &Agents, request: Greeting<JoinRequest>) -> (&'static str, JoinAnswer) {
    let request = match request {
        Greeting::Same(request) => request,
        Greeting::Foreign { version } => {
            return ("version", JoinAnswer::Refused { sentence: update_sentence(version, VERSION) });
        }
    };
    match agents.api.join(request).await {
        Ok(membership) => {
            tracing::info!(device = %membership.device, name = %membership.name, "a box joined");
            ("joined", JoinAnswer::Welcome(Box::new(membership)))
        }
        Err(ApiError::Refused { sentence, .. }) => ("refused", JoinAnswer::Refused { sentence }),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a box could not join");
            let sentence = "the relay cannot reach its control API now; try again in a while".to_owned();
            ("api_away", JoinAnswer::Refused { sentence })
        }
    }
}

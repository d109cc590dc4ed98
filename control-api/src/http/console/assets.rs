//! What pages are made of besides words: a style sheet, a script and a mark, each in one file.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;

use crate::ca::sha256;
use crate::http::error::{ApiError, Code};

/// A file that is part of the program. Its address names its content, so browsers may keep it for good.
pub(super) struct Asset {
    kind: &'static str,
    content: &'static str,
    name: LazyLock<String>,
}

macro_rules! asset {
    ($file:literal, $kind:literal, $ending:literal) => {
        Asset {
            kind: $kind,
            content: include_str!($file),
            name: LazyLock::new(|| {
                let hash = HEXLOWER.encode(&sha256(include_bytes!($file))[..6]);
                format!(concat!("{}.", $ending), hash)
            }),
        }
    };
}

/// The style sheet.
pub(super) static STYLE: Asset = asset!("assets/console.css", "text/css; charset=utf-8", "css");

/// The script.
pub(super) static SCRIPT: Asset = asset!("assets/console.js", "text/javascript; charset=utf-8", "js");

/// The mark in a browser's tab.
pub(super) static ICON: Asset = asset!("assets/postern.svg", "image/svg+xml", "svg");

impl Asset {
    /// Where it is found.
    pub(super) fn path(&self) -> String {
        format!("/console/assets/{}", *self.name)
    }
}

/// Serves one of them.
pub(super) async fn serve(Path(name): Path<String>) -> Result<Response, ApiError> {
    let asset = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| *asset.name == name);
    let asset =
        asset.ok_or_else(|| ApiError::new(Code::RouteNotFound, "no such file; load the page again"))?;
    let headers =
        [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.content).into_response())
}

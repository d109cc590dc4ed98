//! The ways in, by the names that people type.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use postern_protocol::api::{Access, Via};

/// Reads one of the three names.
pub(crate) fn via() -> impl TypedValueParser<Value = Via> {
    let gate = PossibleValue::new("gate").help("through the relay's SSH gate, which checks the key");
    let name = PossibleValue::new("name").help("by a link, under a name of the relay");
    let port =
        PossibleValue::new("port").help("by a public port of the relay, for clients that know no jump host");
    PossibleValuesParser::new([gate, name, port]).map(|word| match word.as_str() {
        "name" => Via::Name,
        "port" => Via::Port,
        _ => Via::Gate,
    })
}

/// A word for the way in, as a table has it.
pub(super) fn word(access: &Access) -> String {
    match (access.via, access.public_port) {
        (Via::Gate, _) => "gate".to_owned(),
        (Via::Name, _) => "name".to_owned(),
        (Via::Port, Some(port)) => format!("port {port}"),
        (Via::Port, None) => "port".to_owned(),
    }
}

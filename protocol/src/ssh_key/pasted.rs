//! What people paste, read.

use base64ct::{Base64, Encoding};

use super::{ACCEPTED, PublicKey, Unusable, accept_type, type_name};

/// The longest text that is looked at: the longest key that is accepted takes less than 2 KiB.
pub const MAX_PASTED: usize = 16 * 1024;

/// The most characters of a key's comment that are kept.
pub(super) const MAX_COMMENT: usize = 128;

/// What Windows editors put in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

const RFC4716_BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
const RFC4716_END: &str = "---- END SSH2 PUBLIC KEY ----";

/// What somebody pasted, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pasted {
    /// The key.
    pub key: PublicKey,
    /// The comment that stood beside it, shortened, for people only.
    pub comment: String,
    /// A sentence worth showing although the key is accepted.
    pub warning: Option<&'static str>,
}

/// Reads a key in any of the forms that people paste.
pub(super) fn read(text: &str) -> Result<Pasted, Unusable> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
    refuse_private(text)?;
    match text.len() {
        0 => Err(Unusable::Empty),
        1..=MAX_PASTED if text.contains(RFC4716_BEGIN) => read_rfc4716(text),
        1..=MAX_PASTED => read_openssh(text),
        _ => Err(Unusable::TooLong),
    }
}

/// One line: type, base64, comment.
fn read_openssh(text: &str) -> Result<Pasted, Unusable> {
    refuse_pem(text)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or(Unusable::NotAKey)?;
    let (name, rest) = split_word(line);
    let (base64, comment) = split_word(rest);
    if !looks_like_a_key(name, base64) {
        return Err(
            where_it_starts(rest).map_or(Unusable::NotAKey, |starts_at| Unusable::Preceded { starts_at })
        );
    }
    match lines.next().map(split_word) {
        Some((next, rest)) if looks_like_a_key(next, split_word(rest).0) => return Err(Unusable::Several),
        Some(_) => return Err(Unusable::Wrapped),
        None => {}
    }
    accept_type(name)?;
    let blob = Base64::decode_vec(base64).map_err(|_| Unusable::Damaged)?;
    match type_name(&blob) {
        Some(inner) if inner == name => finish(&blob, comment),
        _ => Err(Unusable::Damaged),
    }
}

/// A header block, continued by backslashes, then base64 wrapped at any width (RFC 4716, section 3).
fn read_rfc4716(text: &str) -> Result<Pasted, Unusable> {
    let body = text.strip_prefix(RFC4716_BEGIN).ok_or(Unusable::NotAKey)?;
    let (body, after) = body.split_once(RFC4716_END).ok_or(Unusable::Damaged)?;
    if !after.trim().is_empty() {
        return Err(Unusable::Several);
    }
    let (mut comment, mut base64) = (String::new(), String::new());
    let mut lines = body.lines().map(str::trim);
    while let Some(line) = lines.next() {
        match line.split_once(':') {
            None => base64.push_str(line),
            Some((tag, value)) => {
                let value = continued(value, &mut lines);
                if tag.eq_ignore_ascii_case("comment") {
                    comment = value.trim().trim_matches('"').to_owned();
                }
            }
        }
    }
    let blob = Base64::decode_vec(&base64).map_err(|_| Unusable::Damaged)?;
    finish(&blob, &comment)
}

/// A header's value with the lines that continue it: each but the last ends in a backslash.
fn continued<'a>(first: &'a str, more: &mut impl Iterator<Item = &'a str>) -> String {
    let (mut value, mut line) = (String::new(), first);
    while let Some(head) = line.strip_suffix('\\') {
        value.push_str(head);
        line = more.next().unwrap_or_default();
    }
    value + line
}

fn finish(blob: &[u8], comment: &str) -> Result<Pasted, Unusable> {
    let key = PublicKey::from_wire(blob)?;
    let comment = comment.trim().chars().filter(|c| !c.is_control()).take(MAX_COMMENT).collect();
    let warning = key.warning();
    Ok(Pasted { key, comment, warning })
}

/// Private keys are recognised by their outer marks alone, before anything else looks at them.
fn refuse_private(text: &str) -> Result<(), Unusable> {
    const PUB_FILE: &str = "which is in the file of the same name that ends in .pub";
    const PUTTYGEN: &str = "which PuTTYgen shows under \"Public key for pasting\"";
    let private = |format, instead| Err(Unusable::Private { format, instead });
    if text.contains("BEGIN OPENSSH PRIVATE KEY") || text.contains("b3BlbnNzaC1rZXktdjE") {
        private("OpenSSH", PUB_FILE)
    } else if text.contains("PuTTY-User-Key-File-") {
        private("PuTTY .ppk", PUTTYGEN)
    } else if text.contains("SSH2 ENCRYPTED PRIVATE KEY") {
        private("ssh.com", PUTTYGEN)
    } else if text.contains("PRIVATE KEY-----") {
        private("PEM", PUB_FILE)
    } else {
        Ok(())
    }
}

fn refuse_pem(text: &str) -> Result<(), Unusable> {
    if text.contains("-----BEGIN PUBLIC KEY-----") {
        Err(Unusable::Pem { convert_from: "PKCS8" })
    } else if text.contains("-----BEGIN RSA PUBLIC KEY-----") {
        Err(Unusable::Pem { convert_from: "PEM" })
    } else {
        Ok(())
    }
}

/// The type of a key that stands somewhere in a line after other words.
fn where_it_starts(mut line: &str) -> Option<&'static str> {
    while !line.is_empty() {
        let (name, rest) = split_word(line);
        if looks_like_a_key(name, split_word(rest).0) {
            return ACCEPTED.into_iter().find(|accepted| *accepted == name);
        }
        line = rest;
    }
    None
}

/// Whether two words are meant as a key: a known type, or one whose own name stands in its wire
/// form. Anything else may be a secret whose first word must not be repeated.
fn looks_like_a_key(name: &str, base64: &str) -> bool {
    let known = !matches!(accept_type(name), Err(Unusable::UnknownType(_) | Unusable::NotAKey));
    known || Base64::decode_vec(base64).is_ok_and(|blob| type_name(&blob) == Some(name))
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

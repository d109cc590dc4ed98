//! Free text from people and programs, bounded and fit for a terminal.

use postern_protocol::id::DeviceName;

use super::error::{ApiError, Code};

/// The most characters of a note.
pub(super) const MAX_NOTE: usize = 500;

/// The most characters of a relay's or a token's name.
const MAX_NAME: usize = 63;

/// A note, if it is one: it will stand on terminals, where control characters are commands.
pub(super) fn note(text: &str) -> Result<String, ApiError> {
    let is_command = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if text.chars().count() > MAX_NOTE {
        Err(ApiError::new(Code::InvalidNote, format!("a note has at most {MAX_NOTE} characters"))
            .field("note"))
    } else if text.contains(is_command) {
        Err(ApiError::new(Code::InvalidNote, "a note has no control characters").field("note"))
    } else {
        Ok(text.to_owned())
    }
}

/// A relay's or a token's name, if it is one: it stands in sentences, in metrics and in tables.
pub(crate) fn name(text: &str) -> Option<&str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    let first = text.bytes().next()?;
    (text.len() <= MAX_NAME && text.bytes().all(fits) && first.is_ascii_alphanumeric()).then_some(text)
}

/// The same, or the problem with it.
pub(super) fn checked_name(text: &str) -> Result<&str, ApiError> {
    name(text).ok_or_else(|| ApiError::new(Code::InvalidName, INVALID_NAME).field("name"))
}

/// An account's name, which becomes a part of its boxes' host names.
pub(super) fn label(text: &str) -> Result<&str, ApiError> {
    match text.parse::<DeviceName>() {
        Ok(_) if !text.contains("--") => Ok(text),
        _ => Err(ApiError::new(Code::InvalidName, INVALID_LABEL).field("name")),
    }
}

const INVALID_LABEL: &str = "an account's name stands in host names: it is 1 to 63 lower-case letters, digits and \
                             hyphens, with no hyphen at either end and no two together";

/// What a name must be.
pub(crate) const INVALID_NAME: &str =
    "a name is 1 to 63 letters, digits, '.', '_', '-' and '@', and begins with a letter or a digit";

/// A text from a box or a relay, shortened, with what a terminal would obey taken out.
pub(super) fn tame(text: &str, most: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_bounded_and_command_no_terminal() {
        assert!(note(&"é".repeat(MAX_NOTE)).is_ok());
        assert!(note(&"é".repeat(MAX_NOTE + 1)).is_err());
        assert!(note("two\nlines\tand a tab <script>").is_ok());
        for text in ["\u{1b}[31m", "a\0b", "a\rb", "\u{9b}31m"] {
            assert!(note(text).is_err(), "{text:?}");
        }
        assert_eq!(tame("\u{1b}[31mred\r\n", 6), "[31mre");
    }

    #[test]
    fn accounts_are_called_by_what_fits_into_host_names() {
        assert_eq!(label("acme-2").unwrap(), "acme-2");
        for text in ["", "Acme", "a.b", "a_b", "a@b", "-a", "a-", "a--b", &"a".repeat(64)] {
            assert!(label(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_fit_into_sentences() {
        for text in ["relay-1", "ci@example.com", "A"] {
            assert_eq!(name(text), Some(text));
        }
        for text in ["", "-x", "a b", "a\"b", "é", &"a".repeat(MAX_NAME + 1)] {
            assert_eq!(name(text), None, "{text:?}");
        }
    }
}

//! One line in somebody else's file: pure, on bytes, because such files hold anything.

/// The file with the line as its first, and nowhere else: within a `Host` or `Match` block it would
/// count for that block alone. Everything else stays as it is, to the byte.
pub(super) fn with_line(before: &[u8], line: &str) -> Vec<u8> {
    let mut after = line.as_bytes().to_vec();
    after.extend_from_slice(line_end(before));
    after.extend_from_slice(&without_line(before, line));
    after
}

/// The file without the line, wherever it stands.
pub(super) fn without_line(before: &[u8], line: &str) -> Vec<u8> {
    before
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|candidate| !is_line(candidate, line))
        .flatten()
        .copied()
        .collect()
}

/// Whether this is the line, as ssh reads it: blanks around do not count, nor does the case of the
/// keyword.
fn is_line(candidate: &[u8], line: &str) -> bool {
    let Ok(candidate) = std::str::from_utf8(candidate) else { return false };
    let words = |text: &str| {
        let (keyword, path) = text.trim().split_once([' ', '\t', '='])?;
        let path = path.trim_start_matches([' ', '\t', '=']).trim_matches('"').to_owned();
        Some((keyword.to_ascii_lowercase(), path))
    };
    words(candidate).is_some_and(|candidate| Some(candidate) == words(line))
}

/// How lines end in this file.
fn line_end(file: &[u8]) -> &'static [u8] {
    let first = file.split_inclusive(|byte| *byte == b'\n').next();
    match first.is_some_and(|line| line.ends_with(b"\r\n")) {
        true => b"\r\n",
        false => b"\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "Include \"~/.local/share/postern/ssh/config\"";

    fn with(before: &[u8]) -> Vec<u8> {
        with_line(before, LINE)
    }

    #[test]
    fn the_line_is_the_first_and_the_rest_is_untouched() {
        let others: [&[u8]; 8] = [
            b"",
            b"Host a\n    User b\n",
            b"Host a\n    User b",
            b"\xef\xbb\xbfHost a\n",
            b"Host \xff\xfe\n\x00binary\n",
            b"# Include \"~/.local/share/postern/ssh/config\"\n",
            b"Include ~/.local/share/postern/ssh/config.d/*\n",
            b"\n\n\t\nHost *\n",
        ];
        for before in others {
            let after = with(before);
            let expected = [LINE.as_bytes(), b"\n", before].concat();
            assert_eq!(after, expected, "{}", String::from_utf8_lossy(before));
        }
    }

    #[test]
    fn twice_is_once() {
        let files: [&[u8]; 3] = [b"", b"Host a\r\n  User b\r\n", b"Host a"];
        for before in files {
            assert_eq!(with(&with(before)), with(before));
        }
    }

    #[test]
    fn a_line_that_counts_for_one_host_only_is_moved_to_the_top() {
        let before = format!("Host a\n  include   ~/.local/share/postern/ssh/config  \n  User b\n{LINE}");
        assert_eq!(with(before.as_bytes()), format!("{LINE}\nHost a\n  User b\n").into_bytes());
        let before = b"Include=~/.local/share/postern/ssh/config\r\nHost a\r\n";
        assert_eq!(with(before), format!("{LINE}\r\nHost a\r\n").into_bytes());
    }

    #[test]
    fn line_ends_stay_what_they_are() {
        assert_eq!(with(b"Host a\r\n"), format!("{LINE}\r\nHost a\r\n").into_bytes());
    }

    #[test]
    fn taking_it_out_leaves_what_was_there() {
        let files: [&[u8]; 5] =
            [b"", b"Host a\n", b"Host a", b"Host a\r\nUser \xff\r\n", b"\xef\xbb\xbf# x\n"];
        for before in files {
            assert_eq!(without_line(&with(before), LINE), before);
            assert_eq!(without_line(before, LINE), before);
        }
    }
}

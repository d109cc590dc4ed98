//! The agent's block in a keys file: pure, from the old contents to the new.
//!
//! Between its two marker lines everything is the agent's. Elsewhere only what bears its mark is,
//! so that a block that somebody duplicated or cut in half is put right and loses nobody's key.

use postern_protocol::id::AccessId;

/// How the block's first line begins.
const BEGIN: &str = "# postern: begin";

/// The block's first line.
const FIRST_LINE: &str = "# postern: begin (keys of remote accesses; changes up to 'end' are lost)";

/// The block's last line.
const END: &str = "# postern: end";

/// Before the access in the comment of each key: `postern:k7f2q9xw3a`.
pub(super) const MARK: &str = "postern:";

/// The contents with exactly these lines as the agent's block, or without a block if there are none.
pub(crate) fn render(old: &[u8], lines: &[String]) -> Vec<u8> {
    let old: Vec<Line<'_>> = old.split_inclusive(|byte| *byte == b'\n').map(Line::read).collect();
    let ours = ours(&old);
    let place = ours.iter().position(|ours| *ours).unwrap_or(old.len());
    let kept = |from: usize, to: usize| (from..to).filter(|at| !ours[*at]).flat_map(|at| old[at].bytes);

    let mut new: Vec<u8> = kept(0, place).copied().collect();
    if !lines.is_empty() {
        if new.last().is_some_and(|last| *last != b'\n') {
            new.push(b'\n');
        }
        for line in [FIRST_LINE].into_iter().chain(lines.iter().map(String::as_str)).chain([END]) {
            new.extend_from_slice(line.as_bytes());
            new.push(b'\n');
        }
    }
    new.extend(kept(place, old.len()));
    new
}

/// A line as it stands, and what it is.
struct Line<'a> {
    bytes: &'a [u8],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Begin,
    End,
    /// A key that bears the agent's mark.
    Marked,
    Other,
}

impl<'a> Line<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let text = bytes.trim_ascii();
        let kind = if text.starts_with(BEGIN.as_bytes()) {
            Kind::Begin
        } else if text == END.as_bytes() {
            Kind::End
        } else if bears_mark(text) {
            Kind::Marked
        } else {
            Kind::Other
        };
        Self { bytes, kind }
    }
}

/// Whether a line's last word is the agent's comment.
fn bears_mark(line: &[u8]) -> bool {
    let word = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let access = word.strip_prefix(MARK.as_bytes()).and_then(|id| std::str::from_utf8(id).ok());
    !line.starts_with(b"#") && access.is_some_and(|id| id.parse::<AccessId>().is_ok())
}

/// Which lines are the agent's: whole blocks, and outside of them markers and marked lines.
fn ours(lines: &[Line<'_>]) -> Vec<bool> {
    let mut ours: Vec<bool> = lines.iter().map(|line| line.kind != Kind::Other).collect();
    let mut begun = None;
    for (at, line) in lines.iter().enumerate() {
        match (line.kind, begun) {
            (Kind::Begin, _) => begun = Some(at),
            (Kind::End, Some(begin)) => {
                ours[begin..at].fill(true);
                begun = None;
            }
            (Kind::End, None) | (Kind::Marked | Kind::Other, _) => {}
        }
    }
    ours
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "restrict ssh-ed25519 AAAA postern:aaaaaaaaaa";
    const TWO: &str = "restrict ssh-ed25519 BBBB postern:bbbbbbbbbb";

    fn block(lines: &[&str]) -> String {
        let mut all = vec![FIRST_LINE];
        all.extend(lines);
        all.push(END);
        all.join("\n") + "\n"
    }

    fn rendered(old: &str, lines: &[&str]) -> String {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        String::from_utf8(render(old.as_bytes(), &lines)).unwrap()
    }

    #[test]
    fn the_block_comes_and_goes_and_lines_of_others_stay() {
        let cases = [
            ("an empty file", String::new(), vec![ONE], block(&[ONE])),
            ("nothing to say", "a\n".into(), vec![], "a\n".into()),
            ("a new block", "a\n\n# b\n".into(), vec![ONE], format!("a\n\n# b\n{}", block(&[ONE]))),
            ("no final newline", "a".into(), vec![ONE], format!("a\n{}", block(&[ONE]))),
            ("lines end in CRLF", "a\r\nb\r\n".into(), vec![ONE], format!("a\r\nb\r\n{}", block(&[ONE]))),
            (
                "another key",
                format!("a\n{}b\n", block(&[ONE])),
                vec![TWO],
                format!("a\n{}b\n", block(&[TWO])),
            ),
            ("the last key goes", format!("a\n{}b", block(&[ONE])), vec![], "a\nb".into()),
            ("an editor made CRLF of it", block(&[ONE]).replace('\n', "\r\n"), vec![TWO], block(&[TWO])),
            ("twice", format!("{0}a\n{0}", block(&[ONE])), vec![TWO], format!("{}a\n", block(&[TWO]))),
            ("without its end", format!("{FIRST_LINE}\n{ONE}\na\n"), vec![], "a\n".into()),
            ("without its beginning", format!("{ONE}\n{END}\na\n"), vec![], "a\n".into()),
            (
                "half of it, then a whole one",
                format!("{FIRST_LINE}\n{ONE}\na\n{}", block(&[ONE])),
                vec![TWO],
                format!("{}a\n", block(&[TWO])),
            ),
            ("cut in the middle of a line", format!("a\n{FIRST_LINE}\nrestri"), vec![], "a\nrestri".into()),
            ("a line copied elsewhere", format!("a\n{ONE}\nb\n"), vec![], "a\nb\n".into()),
            ("something written into it", block(&[ONE, "c"]), vec![], String::new()),
            (
                "talk of the mark",
                "# see postern:aaaaaaaaaa\n".into(),
                vec![],
                "# see postern:aaaaaaaaaa\n".into(),
            ),
            ("a mark of nothing", "ssh-rsa C postern:me\n".into(), vec![], "ssh-rsa C postern:me\n".into()),
            ("bytes of no encoding", "\u{e9}\n".into(), vec![ONE], format!("\u{e9}\n{}", block(&[ONE]))),
        ];
        for (what, old, lines, new) in cases {
            assert_eq!(rendered(&old, &lines), new, "{what}");
        }
    }

    proptest! {
        #[test]
        fn lines_of_others_are_never_touched(
            before in "([a-z\r]{0,4}\n){0,4}",
            after in "([a-z\r]{0,4}\n){0,4}[a-z]{0,3}",
            with in prop::bool::ANY,
        ) {
            let lines = if with { vec![TWO] } else { vec![] };
            let now = rendered(&format!("{before}{}{after}", block(&[ONE])), &lines);
            prop_assert_eq!(rendered(&now, &[]), format!("{before}{after}"));
        }

        #[test]
        fn rendering_twice_changes_nothing(old in "((a|b\r|# postern: (begin|end)|c postern:aaaaaaaaaa)\n?){0,8}") {
            let once = rendered(&old, &[ONE]);
            prop_assert_eq!(rendered(&once, &[ONE]), once);
        }
    }
}

//! Which names somebody may have meant.

/// The most names that are offered.
const MOST: usize = 3;

/// The names nearest to a misspelt one, the nearest first; none if none is near.
pub(crate) fn nearest<'a>(meant: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // One slip in three letters, and at least one.
    let tolerance = (meant.chars().count() / 3).max(1);
    let distance = |name: &str| match name.starts_with(meant) {
        true => 0,
        false => strsim::osa_distance(meant, name),
    };
    let mut near: Vec<(usize, &str)> = names.into_iter().map(|name| (distance(name), name)).collect();
    near.retain(|(distance, _)| *distance <= tolerance);
    near.sort_unstable();
    near.truncate(MOST);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_a_stranger_is_not() {
        let names = ["box42", "box43", "demo", "office-router"];
        let table: [(&str, &[&str]); 5] = [
            ("bxo42", &["box42"]),
            ("box4", &["box42", "box43"]),
            ("dmeo", &["demo"]),
            ("office", &["office-router"]),
            ("kitchen", &[]),
        ];
        for (meant, near) in table {
            assert_eq!(nearest(meant, names), near, "{meant}");
        }
    }
}

//! Name patterns, as `no_decay` has them.

/// Whether `name` matches `pattern` as a whole. `*` stands for any run of characters, the empty one too; every other
/// character stands for itself.
///
/// Takes at most `pattern.len() * name.len()` comparisons, however many stars there are.
#[must_use]
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        // No star at all.
        return rest.is_empty();
    };
    // Taking the earliest place for each piece leaves the most for those after it, so this never misses a match.
    for piece in pieces {
        let Some(position) = rest.find(piece) else {
            return false;
        };
        rest = rest.get(position + piece.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        for name in matching {
            assert!(matches_pattern(pattern, name), "`{pattern}` should match `{name}`");
        }
        for name in other {
            assert!(!matches_pattern(pattern, name), "`{pattern}` should not match `{name}`");
        }
    }

    #[test]
    fn a_pattern_without_a_star_matches_only_itself() {
        check("fc1.bias", &["fc1.bias"], &["fc1.bias2", "xfc1.bias", "fc1", ""]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        check("*.bias", &["fc1.bias", ".bias", "a.bias.bias"], &["bias", "fc1.bias.x"]);
        check("*bn*", &["bn", "stem_bn.weight", "xbnx"], &["b.n", ""]);
        check("block.*.weight", &["block.0.weight", "block..weight"], &["block.weight", "block.0.weights"]);
        check("*", &["", "anything"], &[]);
    }

    #[test]
    fn pieces_do_not_overlap() {
        check("ab*ba", &["abba", "abxba"], &["aba"]);
        check("a*b*c", &["abc", "aXbbYc", "abcbc"], &["ac", "acb"]);
        check("*aa*aa", &["aaaa", "aaxaa"], &["aaa"]);
    }

    #[test]
    fn names_outside_ascii_are_matched_by_character() {
        check("poids_é*", &["poids_é", "poids_été"], &["poids_e"]);
    }
}

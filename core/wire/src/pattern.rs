//! Wildcard patterns of ssh_config(5): `*`, `?`, comma-separated lists with `!` negation.

/// What a list of patterns says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListMatch {
    /// A pattern matched and no negated one did.
    Yes,
    /// Nothing matched.
    No,
    /// A negated pattern matched: that outweighs any other.
    Negated,
}

/// Whether `text` matches `pattern`: `*` stands for any bytes, `?` for one.
///
/// Takes at most length × length steps, whatever the pattern.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if the bytes after the last `*` turn out not to match: (pattern, text).
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, t));
                continue;
            }
            Some(&c) if c == b'?' || text.get(t) == Some(&c) => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((after_star, from)) = retry else { return false };
        // Let the star take one byte more.
        p = after_star;
        t = from + 1;
        retry = Some((after_star, t));
    }
    pattern.get(p..).unwrap_or_default().iter().all(|&c| c == b'*')
}

/// Matches `text` against patterns in order; a matching `!pattern` decides at once.
pub fn matches_list<'p>(patterns: impl IntoIterator<Item = &'p [u8]>, text: &[u8]) -> ListMatch {
    let mut found = ListMatch::No;
    for pattern in patterns {
        match pattern.strip_prefix(b"!") {
            Some(negated) if matches(negated, text) => return ListMatch::Negated,
            Some(_) => {}
            None if matches(pattern, text) => found = ListMatch::Yes,
            None => {}
        }
    }
    found
}

/// As [`matches_list`], of a list joined by commas.
#[must_use]
pub fn matches_joined(list: &[u8], text: &[u8]) -> ListMatch {
    matches_list(list.split(|&b| b == b','), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, yes) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "example.com", false),
            ("**a**", "xax", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), yes, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_in_time() {
        let pattern = b"*a".repeat(500);
        assert!(!matches(&pattern, &vec![b'b'; 4000]));
    }

    #[test]
    fn negation_outweighs_in_any_order() {
        assert_eq!(matches_joined(b"*,!eve", b"eve"), ListMatch::Negated);
        assert_eq!(matches_joined(b"!eve,*", b"bob"), ListMatch::Yes);
        assert_eq!(matches_joined(b"!eve", b"bob"), ListMatch::No);
    }
}

//! An address as text: keyword, argument, options; with socat's quoting. What they mean is `address.rs`' business.

/// The parts of `KEYWORD:ARGUMENT,OPTION,OPTION=VALUE`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Lower case.
    pub(crate) keyword: String,
    /// None where nothing but the keyword stands. Quotes are still in it.
    pub(crate) argument: Option<Vec<u8>>,
    /// Name in lower case, value without quotes.
    pub(crate) options: Vec<(String, Option<Vec<u8>>)>,
}

/// Splits an address. The error is a sentence.
pub(crate) fn split(text: &[u8]) -> Result<Parts, String> {
    let mut pieces = split_at(text, b',')?.into_iter();
    let head = pieces.next().unwrap_or_default();
    let (keyword, argument) = match head.iter().position(|&b| b == b':') {
        Some(at) => (head.get(..at).unwrap_or_default(), head.get(at + 1..).map(<[u8]>::to_vec)),
        None => (head, None),
    };
    let mut options = Vec::new();
    for piece in pieces {
        let (name, value) = match piece.iter().position(|&b| b == b'=') {
            Some(at) => (piece.get(..at).unwrap_or_default(), piece.get(at + 1..)),
            None => (piece, None),
        };
        if name.is_empty() {
            return Err("an option without a name (a stray comma?)".into());
        }
        options.push((lower(name), value.map(unquote)));
    }
    Ok(Parts { keyword: lower(keyword), argument, options })
}

fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}

/// Takes quotes and backslashes away.
pub(crate) fn unquote(text: &[u8]) -> Vec<u8> {
    words_of(text, |_| false).into_iter().next().unwrap_or_default()
}

/// The words of a command, split at blanks outside quotes; no shell.
pub(crate) fn words(text: &[u8]) -> Vec<Vec<u8>> {
    words_of(text, |b| b == b' ' || b == b'\t')
}

fn words_of(text: &[u8], is_blank: impl Fn(u8) -> bool) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(b) = bytes.next() {
        match (b, quote) {
            (b'\\', None | Some(b'"')) => word.get_or_insert_default().push(bytes.next().unwrap_or(b'\\')),
            (b'\'' | b'"', None) => {
                word.get_or_insert_default();
                quote = Some(b);
            }
            (b, Some(q)) if b == q => quote = None,
            (b, None) if is_blank(b) => words.extend(word.take()),
            (b, _) => word.get_or_insert_default().push(b),
        }
    }
    words.extend(word);
    words
}

/// Splits at a byte outside quotes, brackets, braces and parentheses.
fn split_at(text: &[u8], separator: u8) -> Result<Vec<&[u8]>, String> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut open: Vec<u8> = Vec::new();
    while let Some(&b) = text.get(at) {
        match (b, open.last()) {
            (b'\\', Some(b'\'')) => {}
            (b'\\', _) => at += 1,
            (b, Some(&close)) if b == close => drop(open.pop()),
            (_, Some(b'\'' | b'"')) => {}
            (b'\'' | b'"', _) => open.push(b),
            (b'[', _) => open.push(b']'),
            (b'{', _) => open.push(b'}'),
            (b'(', _) => open.push(b')'),
            (b, None) if b == separator => {
                pieces.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    match open.pop() {
        Some(close) => Err(format!("a closing {} is missing", char::from(close))),
        None => {
            pieces.push(text.get(start..).unwrap_or_default());
            Ok(pieces)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_at_colon_and_commas() {
        let parts = split(b"UNIX-LISTEN:/run/x:y,fork,Mode=0660,bind=[::1],x='a,b'").unwrap();
        let option =
            |name: &str, value: Option<&str>| (name.to_owned(), value.map(|v| v.as_bytes().to_vec()));
        assert_eq!(
            (parts.keyword.as_str(), parts.argument.as_deref()),
            ("unix-listen", Some(&b"/run/x:y"[..]))
        );
        let expected = [
            option("fork", None),
            option("mode", Some("0660")),
            option("bind", Some("[::1]")),
            option("x", Some("a,b")),
        ];
        assert_eq!(parts.options, expected);
        assert_eq!(split(b"-").unwrap().keyword, "-");
        assert_eq!(split(b"unix:a\\,b").unwrap().argument.as_deref(), Some(&b"a\\,b"[..]));
        for wrong in ["x:y,", "x:'y", "tcp:[::1:80", "x:\"y'"] {
            assert!(split(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn commands_split_at_blanks_outside_quotes() {
        let text = |words: Vec<Vec<u8>>| {
            words.into_iter().map(|w| String::from_utf8(w).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(text(words(b"ssh  -T 'a b' \"c 'd\" e\\ f ''")), ["ssh", "-T", "a b", "c 'd", "e f", ""]);
        assert_eq!(text(words(b"  ")), [""; 0]);
        assert_eq!(unquote(b"a\\,'b c'"), b"a,b c");
    }
}

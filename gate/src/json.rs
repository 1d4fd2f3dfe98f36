//! Lines of JSON (RFC 8259), written; nothing here reads it.

/// One object, on one line.
#[derive(Debug)]
pub struct Object(String);

#[allow(clippy::new_without_default)]
impl Object {
    /// An empty one.
    #[must_use]
    pub fn new() -> Object {
        Object("{".to_owned())
    }

    /// Adds a text.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Object {
        self.name(name);
        quote(&mut self.0, value);
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, name: &str, value: impl Into<i128>) -> Object {
        self.name(name);
        self.0.push_str(&value.into().to_string());
        self
    }

    /// The line, with its end.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, name);
        self.0.push(':');
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // RFC 8259 §7: these alone must be escaped.
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_text_stays_on_its_line() {
        let object = Object::new().text("a", "x\"y\\z\n\u{1}é").number("n", -1);
        assert_eq!(object.finish(), "{\"a\":\"x\\\"y\\\\z\\u000a\\u0001é\",\"n\":-1}\n");
    }
}

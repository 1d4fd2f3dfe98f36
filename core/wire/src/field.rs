//! How one message field is read and written: the trait behind the message macro.

use crate::{Put, Reader, WireError, WireResult};

/// A type that can stand as a field of an SSH message.
pub trait Field<'a>: Sized {
    /// Reads it; `what` names the field for errors.
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self>;
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
}

impl<'a> Field<'a> for bool {
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self> {
        r.bool(what)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_bool(*self);
    }
}

impl<'a> Field<'a> for u8 {
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self> {
        r.u8(what)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(*self);
    }
}

impl<'a> Field<'a> for u32 {
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self> {
        r.u32(what)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(*self);
    }
}

impl<'a, const N: usize> Field<'a> for [u8; N] {
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self> {
        r.array(what)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_raw(self);
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self> {
        r.string(what)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self);
    }
}

impl<'a> Field<'a> for &'a str {
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self> {
        r.text(what)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self.as_bytes());
    }
}

/// A comma-separated list of names (RFC 4251 §5): ASCII, no empty name, checked when read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameList<'a>(&'a str);

impl<'a> NameList<'a> {
    /// Takes a list that is already joined by commas, if it is well formed.
    pub fn new(joined: &'a str) -> WireResult<Self> {
        Self::check(joined, "name-list")
    }

    /// The list that holds just "none".
    pub const NONE: NameList<'static> = NameList("none");

    /// The names, in order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        // An empty list holds no name, where `split` would give one empty name.
        self.0.split(',').filter(|n| !n.is_empty())
    }

    /// Whether `name` is in the list.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|n| n == name)
    }

    /// The list as it is on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    fn check(joined: &'a str, what: &'static str) -> WireResult<Self> {
        let printable = joined.bytes().all(|b| (b' '..=b'~').contains(&b));
        let no_empty = joined.is_empty() || joined.split(',').all(|n| !n.is_empty());
        if printable && no_empty { Ok(NameList(joined)) } else { Err(WireError::Invalid(what)) }
    }
}

impl<'a> Field<'a> for NameList<'a> {
    fn read(r: &mut Reader<'a>, what: &'static str) -> WireResult<Self> {
        Self::check(r.text(what)?, what)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self.0.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_has_no_names() {
        assert_eq!(NameList::new("").map(|l| l.iter().count()), Ok(0));
        assert_eq!(NameList::new("a,b").map(|l| l.iter().count()), Ok(2));
    }

    #[test]
    fn empty_names_and_control_bytes_are_refused() {
        assert!(NameList::new(",").is_err());
        assert!(NameList::new("a,,b").is_err());
        assert!(NameList::new("a\n").is_err());
    }
}

//! The macro that writes a message's struct, decoder and encoder from its list of fields.

/// Declares messages. Each is a struct whose fields are read and written in order, after the message
/// number, and nothing may follow the last.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? = $number:ident {
            $( $(#[$fdoc:meta])* $field:ident : $ty:ty ),* $(,)?
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name $(<$life>)? {
            $( $(#[$fdoc])* pub $field: $ty, )*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// The message number.
            pub const NUMBER: u8 = $crate::number::$number;

            /// Reads the message from a whole payload, number included.
            pub fn decode(payload: messages!(@slice $($life)?)) -> $crate::WireResult<Self> {
                #[allow(unused_mut)]
                let mut r = $crate::macros::body(payload, Self::NUMBER)?;
                $( let $field = <$ty as $crate::Field>::read(
                    &mut r, concat!(stringify!($name), ".", stringify!($field)))?; )*
                r.finish(stringify!($name))?;
                Ok($name { $($field),* })
            }

            /// Appends the message, number included.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.push(Self::NUMBER);
                $( $crate::Field::write(&self.$field, out); )*
            }
        }
    )*};
    (@slice $life:lifetime) => { &$life [u8] };
    (@slice) => { &[u8] };
}

pub(crate) use messages;

/// The fields' bytes of a payload that must carry message `number`.
pub(crate) fn body(payload: &[u8], number: u8) -> crate::WireResult<crate::Reader<'_>> {
    match payload.split_first() {
        Some((&n, rest)) if n == number => Ok(crate::Reader::new(rest)),
        first => Err(crate::WireError::WrongNumber { expected: number, found: first.map_or(0, |(&n, _)| n) }),
    }
}

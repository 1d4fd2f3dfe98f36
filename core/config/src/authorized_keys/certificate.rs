//! The options inside a user certificate (OpenSSH's PROTOCOL.certkeys), as the options of a key. A certificate
//! permits nothing that it does not name.

use std::fmt;

use sockward_policy::{AddressList, KeyOptions, Source};
use sockward_wire::Reader;

/// Why a certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateOptionError {
    /// A critical option that is not known.
    Unsupported(String),
    /// The data of an option is not of its form.
    Corrupt(String),
    /// It may be given once.
    Multiple(&'static str),
    /// The source-address is no list of networks.
    SourceAddress(String),
}

impl fmt::Display for CertificateOptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateOptionError::Unsupported(name) => {
                write!(f, "certificate critical option \"{}\" is not supported", name.escape_debug())
            }
            CertificateOptionError::Corrupt(name) => {
                write!(f, "certificate option \"{}\" corrupt", name.escape_debug())
            }
            CertificateOptionError::Multiple(name) => write!(f, "certificate has multiple {name} options"),
            CertificateOptionError::SourceAddress(e) => {
                write!(f, "certificate source-address contents invalid: {e}")
            }
        }
    }
}

impl std::error::Error for CertificateOptionError {}

/// Reads the critical options and the extensions of a certificate, each a name and its data. `source` names the
/// certificate in the log. Extensions that are not known permit nothing here and are left out.
pub fn certificate_options<'c>(
    critical: impl IntoIterator<Item = (&'c [u8], &'c [u8])>,
    extensions: impl IntoIterator<Item = (&'c [u8], &'c [u8])>,
    source: Source,
) -> Result<KeyOptions, CertificateOptionError> {
    let mut options = KeyOptions::restricted(source);
    for (name, data) in critical {
        match name {
            b"force-command" => {
                let command = string(name, data)?.to_vec();
                if options.forced_command.replace(command).is_some() {
                    return Err(CertificateOptionError::Multiple("force-command"));
                }
            }
            b"source-address" => {
                let list = AddressList::parse_networks(string(name, data)?)
                    .map_err(|e| CertificateOptionError::SourceAddress(e.to_string()))?;
                if options.source_address.replace(list).is_some() {
                    return Err(CertificateOptionError::Multiple("source-address"));
                }
            }
            b"verify-required" => {
                empty(name, data)?;
                options.verify_required = true;
            }
            _ => return Err(CertificateOptionError::Unsupported(lossy(name))),
        }
    }
    for (name, data) in extensions {
        match name {
            b"permit-port-forwarding" => options.port_forwarding = true,
            b"permit-pty" => options.pty = true,
            b"no-touch-required" => options.touch_required = false,
            b"permit-X11-forwarding" | b"permit-agent-forwarding" | b"permit-user-rc" => {}
            _ => continue,
        }
        empty(name, data)?;
    }
    Ok(options)
}

/// The one string that the data holds.
fn string<'d>(name: &[u8], data: &'d [u8]) -> Result<&'d [u8], CertificateOptionError> {
    let corrupt = || CertificateOptionError::Corrupt(lossy(name));
    let mut reader = Reader::new(data);
    let value = reader.string("certificate.option").map_err(|_| corrupt())?;
    // OpenSSH reads a C string: a NUL inside is an error there too.
    let whole = reader.finish("certificate.option").is_ok() && !value.contains(&0);
    if whole { Ok(value) } else { Err(corrupt()) }
}

fn empty(name: &[u8], data: &[u8]) -> Result<(), CertificateOptionError> {
    if data.is_empty() { Ok(()) } else { Err(CertificateOptionError::Corrupt(lossy(name))) }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Options<'a> = &'a [(&'a [u8], &'a [u8])];

    fn read(critical: Options<'_>, extensions: Options<'_>) -> Result<KeyOptions, CertificateOptionError> {
        let source = Source::new("certificate", 0);
        certificate_options(critical.iter().copied(), extensions.iter().copied(), source)
    }

    #[test]
    fn nothing_is_permitted_that_is_not_named() {
        let options = read(&[], &[]).unwrap();
        assert_eq!(options, KeyOptions::restricted(Source::new("certificate", 0)));
        let options =
            read(&[], &[(b"permit-pty", b""), (b"permit-port-forwarding", b""), (b"x@y", b"z")]).unwrap();
        assert!(options.pty && options.port_forwarding && options.touch_required);
    }

    #[test]
    fn critical_options_restrict() {
        let options =
            read(&[(b"force-command", b"\0\0\0\x04true"), (b"source-address", b"\0\0\0\x0a10.0.0.0/8")], &[])
                .unwrap();
        assert_eq!(options.forced_command.as_deref(), Some(&b"true"[..]));
        assert!(options.source_address.is_some());
        assert!(read(&[(b"verify-required", b"")], &[]).unwrap().verify_required);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused: [Options<'_>; 6] = [
            &[(b"permit-pty", b"")],
            &[(b"force-command", b"true")],
            &[(b"force-command", b"\0\0\0\x04truex")],
            &[(b"force-command", b"\0\0\0\x01a"), (b"force-command", b"\0\0\0\x01a")],
            &[(b"source-address", b"\0\0\0\x0110.0.0.*")],
            &[(b"verify-required", b"x")],
        ];
        for critical in refused {
            assert!(read(critical, &[]).is_err(), "{critical:?}");
        }
        assert!(read(&[], &[(b"permit-pty", b"x")]).is_err());
    }
}

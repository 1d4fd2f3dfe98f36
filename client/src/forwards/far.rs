//! What the server is asked for when somebody wants to reach one of its targets.

use std::net::SocketAddr;

use sockward_config::forward::Target;
use sockward_proto::event::{OpenRequest, TcpEnds};

use super::local;

/// The channel to a target. `owner` (TargetOwner) must listen there, which servers tell of sockets alone: with it
/// there is none to a port. Nor is there to SOCKS, where whoever connects says where to.
pub(crate) fn request(
    target: &Target,
    origin: Option<SocketAddr>,
    owner: Option<&str>,
) -> Option<OpenRequest> {
    match target {
        Target::Unix(path) => Some(OpenRequest::DirectStreamlocal {
            path: path.written().as_bytes().to_vec(),
            owner: owner.map(|owner| owner.as_bytes().to_vec()),
        }),
        Target::Tcp { host, port } if owner.is_none() => {
            let (origin_host, origin_port) = local::origin(origin);
            Some(OpenRequest::DirectTcpip(TcpEnds {
                host: host.clone().into_bytes(),
                port: u32::from(*port),
                origin_host: origin_host.into_bytes(),
                origin_port,
            }))
        }
        Target::Tcp { .. } => {
            log::error!("no connection to {}: {}", local::target(target), NO_PORTS);
            None
        }
        Target::Socks => None,
    }
}

/// Why TargetOwner and ports do not go together.
pub(crate) const NO_PORTS: &str = "TargetOwner holds for sockets: whose a port is the server does not look at; leave the port or TargetOwner out";

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_config::forward::{Form, Forward};
    use sockward_config::lookup::NoLookup;

    #[test]
    fn with_an_owner_there_are_sockets_alone() {
        let ask = |spec: &str, form, owner| {
            let forward = Forward::parse(spec.as_bytes(), form, &NoLookup).unwrap();
            request(&forward.target, None, owner)
        };
        let path = b"/run/x".to_vec();
        for owner in [None, Some("bob")] {
            let request = ask("80:/run/x", Form::Local, owner).unwrap();
            let owner = owner.map(|name| name.as_bytes().to_vec());
            assert_eq!(request, OpenRequest::DirectStreamlocal { path: path.clone(), owner });
        }
        assert!(matches!(ask("80:h:1", Form::Local, None), Some(OpenRequest::DirectTcpip(_))));
        assert_eq!(ask("80:h:1", Form::Local, Some("bob")), None);
        assert_eq!(ask("80", Form::Dynamic, None), None);
    }
}

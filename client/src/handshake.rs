//! From a stream to an SSH connection at its start: what is offered, and the limits of the connection.

use std::time::{Duration, Instant};

use mio::Registry;
use sockward_config::ssh::Settings;
use sockward_crypto::SystemRandom;
use sockward_drive::{Net, Session};
use sockward_proto::{Algorithms, Config, Connection, RekeyLimit};

use crate::plan::Plan;
use crate::{VERSION, trust};

/// Starts the protocol on a stream. The session is number `index` among those of the poller.
pub(crate) fn start(
    plan: &Plan,
    net: Net,
    index: usize,
    registry: &Registry,
    now: Instant,
) -> Result<Session, String> {
    let settings = &plan.configuration.settings;
    let algorithms = Algorithms {
        kex: settings.kex_algorithms.names.clone(),
        host_key: trust::algorithms(plan),
        ciphers: settings.ciphers.names.clone(),
        macs: settings.macs.names.clone(),
    };
    let identification = format!("SSH-2.0-{VERSION}");
    log::debug!("Local version string {identification}");
    let mut config = Config::client(identification.into_bytes(), algorithms);
    config.rekey_limit = rekey_limit(settings);
    config.keep_alive = plan.keep_alive();
    let mut conn = Connection::new(config, Box::new(SystemRandom::new()), now).map_err(|e| e.to_string())?;
    conn.set_user(plan.configuration.user.as_bytes());
    let configuration = &plan.configuration;
    log::debug!(
        "Authenticating to {}:{} as '{}'",
        configuration.host,
        configuration.port,
        configuration.user
    );
    Session::new(index, conn, net, registry).map_err(|e| e.to_string())
}

fn rekey_limit(settings: &Settings) -> RekeyLimit {
    RekeyLimit {
        bytes: settings.rekey_limit.bytes(),
        time: settings.rekey_limit.seconds().map(|seconds| Duration::from_secs(seconds.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_proto::KeepAlive;

    #[test]
    fn limits_are_those_of_the_configuration() {
        let limits = ["-oRekeyLimit=1M 30", "-oServerAliveInterval=5", "-oServerAliveCountMax=2"];
        let plan = crate::testing::plan(&limits);
        let limit = rekey_limit(&plan.configuration.settings);
        assert_eq!((limit.bytes, limit.time), (Some(1 << 20), Some(Duration::from_secs(30))));
        let alive = KeepAlive { interval: Duration::from_secs(5), count_max: 2 };
        assert_eq!(plan.keep_alive(), Some(alive));
        assert_eq!(crate::testing::plan(&[]).keep_alive(), None);
    }
}

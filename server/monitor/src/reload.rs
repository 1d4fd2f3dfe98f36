//! SIGHUP: the configuration, the host keys and the listening sockets are taken anew, in place. Sessions stay,
//! and with a fault in the new configuration everything stays.

use crate::host_keys::HostKeys;
use crate::listen;
use crate::server::Server;
use crate::settings;

impl Server {
    pub(crate) fn reload(&mut self) {
        if let Err(faults) = self.try_reload() {
            for fault in faults {
                log::error!("{fault}");
            }
            log::error!("reload failed: the server goes on with what it had");
        }
    }

    fn try_reload(&mut self) -> Result<(), Vec<String>> {
        let one = |e: String| vec![e];
        let fresh = settings::load(&self.options)?;
        let values = fresh.config.global();
        let keys = HostKeys::load(&values.host_keys, &values.host_certificates).map_err(one)?;
        crate::check_isolation(values, self.me).map_err(one)?;
        for listener in &self.listeners {
            self.unwatch(listener);
        }
        let bound = listen::bind(values, &mut self.listeners).map_err(one);
        self.watch_listeners().map_err(|e| one(e.to_string()))?;
        bound?;
        crate::start_log(&self.options, values).map_err(|e| one(e.to_string()))?;
        self.processes.log_level = crate::log_level(&self.options, values).name().to_owned();
        self.identification = crate::identification(values);
        self.audit.open(values).map_err(one)?;
        self.keys = keys;
        self.settings = fresh;
        crate::write_pid_file(&self.settings.config, &mut self.pid_file).map_err(one)
    }
}

//! `sshd -t` and `sshd -T`: the configuration is checked or told, nothing is served.

use sockward_config::sshd::{self, TestSpec};

use crate::options::{Options, Test};
use crate::settings::{Settings, SystemLookup};

/// Checks or tells; the status to end with.
pub(crate) fn run(test: Test, settings: &Settings, options: &Options) -> Result<u8, String> {
    if test == Test::Check {
        for remark in settings.config.warnings().iter().chain(&settings.config.advice()) {
            log::warn!("{remark}");
        }
        return Ok(0);
    }
    if options.specs.is_empty() {
        print!("{}", sshd::dump(settings.config.global()));
        return Ok(0);
    }
    let mut spec = TestSpec::default();
    options.specs.iter().try_for_each(|text| spec.read(text, &SystemLookup))?;
    let groups = match &spec.user {
        Some(user) => groups_of(user)?,
        None => Vec::new(),
    };
    let effective = settings.config.effective(&spec.facts(&groups)).map_err(|e| e.to_string())?;
    print!("{}", sshd::dump(&effective));
    Ok(0)
}

fn groups_of(user: &str) -> Result<Vec<String>, String> {
    let account = sockward_sys::account::Account::by_name(user).map_err(|e| e.to_string())?;
    account.map_or_else(|| Ok(Vec::new()), |a| a.group_names().map_err(|e| e.to_string()))
}

//! The invoking user's terminal: raw mode and silent input, which are taken back whatever happens; its size and
//! its modes by the numbers that SSH gives them (RFC 4254 §8).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
    tcgetwinsize, tcsetattr,
};

/// A changed terminal. Dropped, it gets its old modes back.
#[derive(Debug)]
#[must_use = "dropped at once it changes nothing"]
pub struct Changed {
    number: u64,
}

/// What [`restore_all`] has to take back.
struct Saved {
    number: u64,
    terminal: OwnedFd,
    modes: Termios,
}

static CHANGED: Mutex<(u64, Vec<Saved>)> = Mutex::new((0, Vec::new()));

/// Puts a terminal into raw mode: every byte goes through as it is, signals are not made of keys.
pub fn raw(terminal: impl AsFd) -> io::Result<Changed> {
    change(terminal, OptionalActions::Drain, |modes| {
        modes.input_modes |= InputModes::IGNPAR;
        modes.input_modes -= InputModes::ISTRIP | InputModes::INLCR | InputModes::IGNCR | InputModes::ICRNL;
        modes.input_modes -= InputModes::IXON | InputModes::IXANY | InputModes::IXOFF | InputModes::IUCLC;
        modes.local_modes -= LocalModes::ISIG | LocalModes::ICANON | LocalModes::IEXTEN;
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK | LocalModes::ECHONL;
        modes.output_modes -= OutputModes::OPOST;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    })
}

/// Stops showing what is typed, and drops what was typed before.
pub fn silent(terminal: impl AsFd) -> io::Result<Changed> {
    change(terminal, OptionalActions::Flush, |modes| {
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
    })
}

/// Gives all changed terminals their old modes back: for an end that drops nothing.
pub fn restore_all() {
    for saved in std::mem::take(&mut changed().1) {
        restore(&saved);
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        let mut all = changed();
        if let Some(at) = all.1.iter().position(|saved| saved.number == self.number) {
            restore(&all.1.swap_remove(at));
        }
    }
}

fn change(
    terminal: impl AsFd,
    when: OptionalActions,
    edit: impl FnOnce(&mut Termios),
) -> io::Result<Changed> {
    let saved = tcgetattr(&terminal)?;
    let mut modes = saved.clone();
    edit(&mut modes);
    let terminal = crate::fd::duplicate(terminal)?;
    // Noted before it is changed: an end in between takes back what was not changed yet, which harms nobody.
    let mut all = changed();
    all.0 += 1;
    let number = all.0;
    all.1.push(Saved { number, terminal, modes: saved });
    let result = all.1.last().map(|saved| tcsetattr(&saved.terminal, when, &modes));
    if let Some(Err(error)) = result {
        all.1.pop();
        return Err(error.into());
    }
    Ok(Changed { number })
}

fn restore(saved: &Saved) {
    // A terminal that is gone needs nothing back.
    let _ = tcsetattr(&saved.terminal, OptionalActions::Drain, &saved.modes);
}

fn changed() -> MutexGuard<'static, (u64, Vec<Saved>)> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal that controls this process's session, for asking its user.
pub fn controlling() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())?)
}

/// The size of a terminal's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
    /// Pixels; 0 where nobody knows.
    pub width: u16,
    /// Pixels; 0 where nobody knows.
    pub height: u16,
}

/// The size of a terminal's window.
pub fn size(terminal: impl AsFd) -> io::Result<Size> {
    let size = tcgetwinsize(terminal)?;
    Ok(Size { columns: size.ws_col, rows: size.ws_row, width: size.ws_xpixel, height: size.ws_ypixel })
}

/// The modes of a terminal as pairs of opcode and value, without the final TTY_OP_END.
pub fn modes(terminal: impl AsFd) -> io::Result<Vec<(u8, u32)>> {
    let modes = tcgetattr(terminal)?;
    let mut all = vec![(OSPEED, modes.output_speed()), (ISPEED, modes.input_speed())];
    all.extend(CHARACTERS.iter().map(|(opcode, index)| {
        let code = modes.special_codes[*index];
        (*opcode, if code == 0 { UNSET } else { u32::from(code) })
    }));
    all.extend(INPUT.iter().map(|(opcode, flag)| (*opcode, u32::from(modes.input_modes.contains(*flag)))));
    all.extend(LOCAL.iter().map(|(opcode, flag)| (*opcode, u32::from(modes.local_modes.contains(*flag)))));
    all.extend(OUTPUT.iter().map(|(opcode, flag)| (*opcode, u32::from(modes.output_modes.contains(*flag)))));
    let size = modes.control_modes & ControlModes::CSIZE;
    all.push((90, u32::from(size == ControlModes::CS7)));
    all.push((91, u32::from(size == ControlModes::CS8)));
    all.push((92, u32::from(modes.control_modes.contains(ControlModes::PARENB))));
    all.push((93, u32::from(modes.control_modes.contains(ControlModes::PARODD))));
    Ok(all)
}

/// An unset special character is 255 in SSH.
pub(crate) const UNSET: u32 = 255;

pub(crate) const ISPEED: u8 = 128;
pub(crate) const OSPEED: u8 = 129;

pub(crate) const CHARACTERS: &[(u8, SpecialCodeIndex)] = &[
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (6, SpecialCodeIndex::VEOL),
    (7, SpecialCodeIndex::VEOL2),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
    (18, SpecialCodeIndex::VDISCARD),
];

pub(crate) const INPUT: &[(u8, InputModes)] = &[
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (37, InputModes::IUCLC),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    (42, InputModes::IUTF8),
];

pub(crate) const LOCAL: &[(u8, LocalModes)] = &[
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (52, LocalModes::XCASE),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
    (62, LocalModes::PENDIN),
];

pub(crate) const OUTPUT: &[(u8, OutputModes)] = &[
    (70, OutputModes::OPOST),
    (71, OutputModes::OLCUC),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    /// Both sides of a new pseudo-terminal.
    fn pair() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
        (master, slave)
    }

    fn value(modes: &[(u8, u32)], opcode: u8) -> Option<u32> {
        modes.iter().find(|(o, _)| *o == opcode).map(|(_, v)| *v)
    }

    #[test]
    fn changes_are_taken_back_on_drop_and_at_once_on_request() {
        let (_master, slave) = pair();
        let before = modes(&slave).unwrap();
        assert_eq!((value(&before, 51), value(&before, 53), value(&before, 70)), (Some(1), Some(1), Some(1)));
        let changed = raw(&slave).unwrap();
        let during = modes(&slave).unwrap();
        assert_eq!((value(&during, 51), value(&during, 53), value(&during, 70)), (Some(0), Some(0), Some(0)));
        drop(changed);
        assert_eq!(modes(&slave).unwrap(), before);
        let kept = silent(&slave).unwrap();
        assert_eq!(value(&modes(&slave).unwrap(), 53), Some(0));
        restore_all();
        assert_eq!(modes(&slave).unwrap(), before);
        drop(kept);
        assert_eq!(modes(&slave).unwrap(), before);
    }

    #[test]
    fn what_is_no_terminal_is_an_error() {
        let null = crate::fd::dev_null().unwrap();
        assert!(raw(&null).is_err() && size(&null).is_err() && modes(&null).is_err());
        let (_master, slave) = pair();
        assert_eq!(size(&slave).unwrap(), Size::default());
        assert_eq!(value(&modes(&slave).unwrap(), 1), Some(3), "control-C interrupts");
    }
}

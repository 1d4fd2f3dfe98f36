//! Starting processes: our own binary in another role, the logged-in user's commands, and a client's tools.
//!
//! Whichever way the new program starts with exactly the descriptors, arguments and environment that
//! are named, default signal dispositions, nothing blocked, and the descriptor limit this process
//! was started with. Whose rights it has is decided before (by the process that starts it) or
//! after (by the started role itself): `identity`.

mod child;
mod exec;
mod self_exe;
mod tool;
mod user_command;

pub use child::{Child, Exit};
pub use exec::{SpawnError, Stage};
pub use self_exe::{Role, SelfExe, set_process_name};
pub use tool::Tool;
pub use user_command::{Started, UserCommand};

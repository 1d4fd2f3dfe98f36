//! IPQoS of the server: the mark of an accepted connection, as the system tells a command that runs over it; the same
//! with OpenSSH's server.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{Client, Kind, Server, ServerSetup};

/// Waits for the mark `wanted` on the connection to `port`, and says what it is in the end.
fn look(port: u16, wanted: &str) -> String {
    let ask = format!("ss -Htn --tos state established sport = :{port}");
    format!("i=0; until {ask} | grep -q {wanted} || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; {ask}")
}

#[test]
fn connections_are_marked_by_whether_they_have_a_terminal() {
    if !as_root() {
        return;
    }
    for kind in [Kind::OpenSsh, Kind::Ours] {
        // The user's own block counts, and the global line is for others.
        let lines = "IPQoS af41 af42\nMatch User *\nIPQoS af21 af11\nMatch all";
        let server = Server::start(kind, &ServerSetup::with(lines));
        for (args, mark) in [(&["-T"][..], "tos:0x28"), (&["-tt"][..], "tos:0x48")] {
            let output =
                Client::new(Kind::OpenSsh, &server).args(args).command(&look(server.port, mark)).output();
            let output = output.unwrap();
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(
                shown.contains(mark),
                "{kind:?} {args:?}: {shown} {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

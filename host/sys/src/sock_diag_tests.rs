//! Real connections, and everything that looks like one to sock_diag(7).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use super::*;
use crate::testing::{ALEX, EVE, alone, as_user, race, race_rounds, root_or_skip, start_child, take_uid};

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn pair(at: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(at).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    (client, accepted)
}

fn none(socket: impl AsFd) -> bool {
    matches!(peer(socket), Err(Unidentified::NoSuchConnection))
}

#[test]
fn both_families_are_found_and_the_inode_is_the_socket_s() {
    alone(|| {
        for at in ["127.0.0.1:0", "127.8.9.10:0", "[::1]:0"] {
            let (client, accepted) = pair(at);
            let found = peer(&accepted).unwrap();
            let inode = rustix::fs::fstat(&client).unwrap().st_ino;
            assert_eq!((found.uid, u64::from(found.inode)), (own_uid(), inode), "{at}");
            // And the other way round.
            let inode = rustix::fs::fstat(&accepted).unwrap().st_ino;
            assert_eq!(u64::from(peer(&client).unwrap().inode), inode, "{at}");
        }
    });
}

#[test]
fn ipv4_in_ipv6_is_found_from_either_side() {
    alone(|| {
        // A listener of both families has mapped addresses, ...
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (accepted, from) = listener.accept().unwrap();
        assert!(from.is_ipv6(), "{from} is mapped");
        assert_eq!(u64::from(peer(&accepted).unwrap().inode), rustix::fs::fstat(&client).unwrap().st_ino);
        // ... and a client may use them, with a plain listener.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(format!("[::ffff:127.0.0.1]:{port}")).unwrap();
        let (accepted, from) = listener.accept().unwrap();
        assert!(from.is_ipv4());
        assert_eq!(u64::from(peer(&accepted).unwrap().inode), rustix::fs::fstat(&client).unwrap().st_ino);
    });
}

#[test]
fn the_owner_is_who_made_the_socket() {
    if !root_or_skip("the_owner_is_who_made_the_socket") {
        return;
    }
    alone(|| {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            for uid in [ALEX, EVE] {
                let listener = TcpListener::bind(at).unwrap();
                let address = listener.local_addr().unwrap();
                let child = start_child(|| {
                    take_uid(uid);
                    let mut client = TcpStream::connect(address).unwrap();
                    let _ = client.read(&mut [0]);
                });
                let (accepted, _) = listener.accept().unwrap();
                assert_eq!(peer(&accepted).unwrap().uid, uid);
                drop(accepted);
                child.wait();
            }
        }
        // Any user may ask.
        as_user(ALEX, || {
            let (_client, accepted) = pair("127.0.0.1:0");
            assert_eq!(peer(&accepted).unwrap().uid, ALEX);
        })
        .success();
    });
}

#[test]
fn half_closed_is_known_and_closed_is_nobody() {
    alone(|| {
        let (client, mut accepted) = pair("127.0.0.1:0");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
        assert_eq!(peer(&accepted).unwrap().uid, own_uid(), "half-closed by the client");

        let (client, accepted) = pair("127.0.0.1:0");
        accepted.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer(&accepted).unwrap().uid, own_uid(), "half-closed by us");
        drop(client);

        // The client has gone; what it sent is still there to read, with inode 0 and on many kernels uid 0.
        let (mut client, mut accepted) = pair("127.0.0.1:0");
        client.write_all(b"x").unwrap();
        drop(client);
        assert!(none(&accepted), "closed");
        assert_eq!(accepted.read(&mut [0; 2]).unwrap(), 1);

        // The same, and both ends gone.
        let (client, accepted) = pair("127.0.0.1:0");
        let copy = accepted.try_clone().unwrap();
        accepted.shutdown(Shutdown::Both).unwrap();
        drop(client);
        assert!(none(&copy));
    });
}

#[test]
fn a_listener_is_not_a_peer() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        // Nobody has this connection, and the kernel answers with the listener, which is live and has an owner.
        let question = question(there, "127.0.0.1:1".parse().unwrap());
        let found = Found::parse(&ask(&question).unwrap()).unwrap();
        assert_eq!((found.state, found.local.1), (10, there.port()), "the trap is there");
        let no = owner_of(there, "127.0.0.1:1".parse().unwrap());
        assert!(matches!(no, Err(Unidentified::NoSuchConnection)), "{no:?}");
        // One on all addresses, asked for by one of them.
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let no = owner_of(([127, 0, 0, 1], port).into(), "127.0.0.1:1".parse().unwrap());
        assert!(matches!(no, Err(Unidentified::NoSuchConnection)), "{no:?}");
    });
}

#[test]
fn what_is_not_connected_has_no_peer() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(none(&listener));
        let (unix, _other) = crate::unix::pair().unwrap();
        assert!(none(&unix));
        let (pipe, _w) = crate::fd::pipe().unwrap();
        assert!(none(&pipe) || peer(&pipe).is_err());
    });
}

/// A connection that waits in a listener's queue belongs to nobody yet, and does not pass as root's.
#[test]
fn a_connection_not_yet_accepted_is_nobody_s() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(none(&client), "inode 0");
        let (_accepted, _) = listener.accept().unwrap();
        assert!(peer(&client).is_ok());
    });
}

/// Eve connects from one port, sends and leaves at once; Alex takes the port as soon as it is free. Nobody must
/// ever be told that what Eve sent is of Alex.
#[test]
fn closing_and_taking_the_port_never_lends_an_identity() {
    if !root_or_skip("closing_and_taking_the_port_never_lends_an_identity") {
        return;
    }
    let _alone = race();
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let from: SocketAddr = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        };
        // Both bind the one port; a reset (linger 0) frees it at once.
        let connect_as = |uid: u32, word: u8| {
            start_child(move || {
                take_uid(uid);
                for round in 0.. {
                    let socket =
                        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                    socket.set_reuse_address(true).unwrap();
                    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
                    if socket.bind(&from.into()).is_ok() && socket.connect(&address.into()).is_ok() {
                        let _ = socket.send(&[word]);
                        // Now and then it stays for a moment.
                        if round % 2 == 0 {
                            std::thread::sleep(std::time::Duration::from_micros(50));
                        }
                    }
                }
            })
        };
        let eve = connect_as(EVE, b'e');
        let alex = connect_as(ALEX, b'a');
        let (mut identified, mut nobody) = (0, 0);
        // The kernel walks its whole table for each question: a fraction of the rounds takes as long as a race of files.
        for round in 0..race_rounds() / 64 {
            let (accepted, _) = listener.accept().unwrap();
            if round % 3 == 0 {
                std::thread::yield_now();
            }
            let found = peer(&accepted);
            let mut word = [0];
            let sent = (&accepted).read(&mut word).unwrap_or(0);
            match (found, sent) {
                (Ok(found), 1) => {
                    identified += 1;
                    let whose = if word == [b'e'] { EVE } else { ALEX };
                    assert_eq!(found.uid, whose, "round {round}");
                }
                (Ok(found), _) => assert!([EVE, ALEX].contains(&found.uid)),
                (Err(Unidentified::NoSuchConnection), _) => nobody += 1,
                (Err(error), _) => panic!("{error}"),
            }
        }
        drop((eve, alex));
        eprintln!("identified {identified}, nobody {nobody}");
        assert!(nobody > 0, "no connection was gone in time: nothing was tried");
    });
}

#[test]
fn answers_that_are_none_are_not_believed() {
    let good = {
        let mut bytes = question("127.0.0.1:7".parse().unwrap(), "127.0.0.1:8".parse().unwrap());
        bytes.resize(HEADER + 72, 0);
        bytes
    };
    assert!(Found::parse(&good[..HEADER + 71]).is_none());
    for length in 0..good.len() {
        assert!(Found::parse(&good[..length]).is_none());
    }
    let mut error = good.clone();
    error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
    assert!(Found::parse(&error).is_none());
}

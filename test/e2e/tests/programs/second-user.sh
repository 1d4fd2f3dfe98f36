#!/bin/sh
# In namespaces of its own: DIRECTORY SOCKWARD SSHD ALEX BOB. alex's client listens on a port; alex and bob connect to it
# all the time, from so few ports that each of them gets the ports that the other has just used.
set -eu
ip link set lo up
mount -t tmpfs -o mode=755 none /run
mkdir /run/sshd
cd "$1"
ln -s "$2" ssh
ln -s "$3" sshd
as() {
    user=$1; shift
    setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups env -u SSH_AUTH_SOCK HOME=/nonexistent "$@"
}
until_true() {
    n=0
    until "$@" 2>/dev/null; do
        n=$((n + 1)); [ $n -lt 1200 ] || { echo "in vain: $*"; cat log ssh.log; exit 1; }
        sleep 0.05
    done
}
mkdir web; echo "the page" >web/index.html
cat >nginx.conf <<END
pid /run/nginx.pid; error_log /dev/null; worker_processes 1; user root; events { worker_connections 512; }
http { access_log off; client_body_temp_path /run/a; proxy_temp_path /run/b; fastcgi_temp_path /run/c;
    uwsgi_temp_path /run/d; scgi_temp_path /run/e; server { listen unix:$1/web.sock; root $1/web; } }
END
nginx -c "$1/nginx.conf" -e /dev/null
ssh-keygen -q -t ed25519 -N '' -f host_key
ssh-keygen -q -t ed25519 -N '' -f key
cp key.pub authorized_keys
echo "127.0.0.1 $(cat host_key.pub)" >known
chown "$4" key
cat >sshd_config <<END
Port 22
ListenAddress 127.0.0.1
HostKey $1/host_key
PidFile /run/pid
AuthorizedKeysFile $1/authorized_keys
StrictModes no
UsePAM no
END
"$1/sshd" -f "$1/sshd_config" -E "$1/log"
until_true test -s /run/pid
: >ssh.log; chown "$4" ssh.log
as "$4" "$1/ssh" -F none -i key -o IdentitiesOnly=yes -o UserKnownHostsFile=known -o GlobalKnownHostsFile=none \
    -E "$1/ssh.log" -nNT -L 3000:"$1/web.sock" "$4@127.0.0.1" &
until_true nc -z 127.0.0.1 3000
echo "40000 40031" >/proc/sys/net/ipv4/ip_local_port_range
cat >connect.py <<'END'
import errno, os, socket, struct, sys, time
who, wanted = sys.argv[1], int(sys.argv[2])
done = tries = received = 0
while (done < wanted) if wanted else not os.path.exists("over"):
    s = socket.socket()
    # Ends with a reset: the port can be used again at once.
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.settimeout(60)
    try:
        s.connect(("127.0.0.1", 3000))
        tries += 1
        s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        text = b""
        while b"the page\n" not in text:
            piece = s.recv(4096)
            if not piece:
                break
            text += piece
        received += len(text)
        if b"the page\n" in text:
            done += 1
        elif wanted:
            print(who + ": refused after", done)
            sys.exit(1)
    except OSError as e:
        if e.errno == errno.EADDRNOTAVAIL:
            time.sleep(0.005)
        elif wanted:
            print(who + ":", e, "after", done)
            sys.exit(1)
    s.close()
if wanted:
    print(who + ":", done, "of", wanted)
else:
    print(who + ":", received, "bytes in", tries, "tries")
END
as "$5" python3 connect.py bob 0 >bob.out &
second=$!
status=0
as "$4" python3 connect.py alex 600 || status=$?
: >over
wait $second || status=$?
cat bob.out
[ $status = 0 ] || tail -n 20 ssh.log
exit $status

# A make-believe machine for the documentation's examples. Everything here is inside namespaces.
ip link set lo up
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /home
mount -t tmpfs -o mode=700 tmpfs /root
mkdir -p /run/sshd
# Where the commands of logins are looked for.
mount --bind "$DIR/bin" /usr/local/bin

export PATH="$DIR/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
echo '127.0.0.1 host' >>/etc/hosts
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -qt ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
groupadd web
for user in alex bob eve; do
    useradd --create-home --shell /bin/sh --password '*' $user
    install -d -m 700 -o $user -g $user /home/$user/.ssh
    ssh-keygen -qt ed25519 -N '' -C $user -f /home/$user/.ssh/id_ed25519
    cp /home/$user/.ssh/id_ed25519.pub /home/$user/.ssh/authorized_keys
    printf 'host,127.0.0.1 %s\n' "$(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >/home/$user/.ssh/known_hosts
    chown -R $user:$user /home/$user/.ssh
done
usermod -aG web bob

cat >/run/nginx.conf <<END
pid /run/nginx.pid; error_log /run/nginx.log; events {}
http { access_log off; server { listen 127.0.0.1:80; listen [::1]:80; location / { return 200 "the page\n"; } } }
END
nginx -c /run/nginx.conf 2>/dev/null

# What stands for a VNC server and for Docker.
printf 'RFB 003.008\n' >/run/rfb
socat TCP-LISTEN:5900,bind=127.0.0.1,reuseaddr,fork EXEC:'cat /run/rfb' 2>/dev/null &
sed 's/listen 127.0.0.1:80; listen \[::1\]:80;/listen unix:\/run\/docker.sock;/; s/nginx.pid/docker.pid/' /run/nginx.conf >/run/docker.conf
nginx -c /run/docker.conf 2>/dev/null
chown alex /run/docker.sock && chmod 600 /run/docker.sock

# What the documentation builds is what is tested here.
cat >"$DIR/bin/cargo" <<'END'
#!/bin/sh
case "$*" in
"build --release") exit 0 ;;
"run --release -p sockward -- "*) shift 5; exec sockward "$@" ;;
*) echo "cargo $*: not for here" >&2; exit 1 ;;
esac
END
chmod +x "$DIR/bin/cargo"

# block PLACE USER works|fails FILE
block() {
    status=0
    if [ "$2" = root ]; then
        HOME=/root timeout 60 sh -eu "$4" </dev/null || status=$?
    else
        (cd "/home/$2" && HOME=/home/$2 USER=$2 LOGNAME=$2 timeout 60 \
            setpriv --reuid "$2" --regid "$2" --init-groups sh -eu "$4" </dev/null) || status=$?
    fi
    echo "$1: as $2: status $status"
    case $3 in
        works) [ $status = 0 ] ;;
        # Not found, not executable and timed out are no refusals.
        fails) [ $status != 0 ] && { [ $status -lt 124 ] || [ $status = 255 ]; } ;;
    esac || { echo "$1: should have been: $3"; cat /run/log 2>/dev/null || true; exit 1; }
}

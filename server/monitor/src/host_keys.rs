//! The server's own keys: reading them, making one for a server without configuration, finding the one that
//! signs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sockward_config::sshd::HostKeyFile;
use sockward_crypto::keyfile::{self, KeyFileError};
use sockward_crypto::{
    CertType, Certificate, CryptoError, KeyAlgorithm, KeyOrCert, KeyType, PrivateKey, SignatureAlg,
    parse_public_line,
};
use sockward_sys::create;
use sockward_sys::file::{self, Links};

/// The keys of a server.
#[derive(Debug, Default)]
pub(crate) struct HostKeys {
    keys: Vec<HostKey>,
}

/// One key.
pub(crate) struct HostKey {
    key: PrivateKey,
    certificate: Option<Box<Certificate>>,
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.key.public().fingerprint())
    }
}

impl HostKey {
    /// K_S for an algorithm: the public key, or the certificate for it.
    pub(crate) fn blob(&self, algorithm: KeyAlgorithm) -> Option<&[u8]> {
        match algorithm.certificate {
            false => Some(self.key.public().blob()),
            true => self.certificate.as_ref().map(|c| c.blob.as_slice()),
        }
    }

    pub(crate) fn key_type(&self) -> KeyType {
        self.key.public().key_type()
    }

    pub(crate) fn sign(&self, alg: SignatureAlg, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.key.sign(alg, data)
    }
}

impl HostKeys {
    #[cfg(test)]
    pub(crate) fn of(keys: Vec<PrivateKey>) -> Self {
        HostKeys { keys: keys.into_iter().map(|key| HostKey { key, certificate: None }).collect() }
    }

    /// Reads the files and the certificates. One that cannot be used is skipped with a warning, as sshd does; no key
    /// at all is an error.
    pub(crate) fn load(files: &[HostKeyFile], certificates: &[Vec<u8>]) -> Result<Self, String> {
        let mut keys = HostKeys::default();
        for HostKeyFile { path, given } in files {
            let path = crate::path_of(path);
            match load(&path) {
                Ok(key) => keys.keys.push(HostKey { key, certificate: None }),
                Err(LoadError::Missing) if !given => {}
                Err(e) => log::error!("Unable to load host key \"{}\": {e}", path.display()),
            }
        }
        if keys.keys.is_empty() {
            return Err(
                "no hostkeys available -- exiting (make one with: ssh-keygen -t ed25519 -f FILE -N '')"
                    .into(),
            );
        }
        for path in certificates.iter().map(|path| crate::path_of(path)) {
            if let Err(e) = load_certificate(&path).and_then(|certificate| keys.add(certificate)) {
                log::error!("Could not load host certificate \"{}\": {e}", path.display());
            }
        }
        Ok(keys)
    }

    /// Puts a certificate to its key. Whether it is valid and for whom is for the client to see.
    fn add(&mut self, certificate: Box<Certificate>) -> Result<(), LoadError> {
        if certificate.cert_type != CertType::Host {
            return Err(LoadError::Other("it is a certificate of a user".into()));
        }
        let holder = self.keys.iter_mut().find(|k| *k.key.public() == certificate.key);
        let holder = holder.ok_or_else(|| LoadError::Other("there is no host key for it".into()))?;
        // The first of two holds, as for other keywords.
        holder.certificate.get_or_insert(certificate);
        Ok(())
    }

    /// The key that signs with an algorithm.
    pub(crate) fn find(&self, algorithm: KeyAlgorithm) -> Option<&HostKey> {
        let of_type = |k: &&HostKey| k.key.public().key_type() == algorithm.signature.key_type();
        self.keys.iter().filter(of_type).find(|k| k.blob(algorithm).is_some())
    }

    /// All public keys, for clients to learn.
    pub(crate) fn public(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(|k| k.key.public().blob().to_vec()).collect()
    }

    /// The key with this public key.
    pub(crate) fn with_blob(&self, blob: &[u8]) -> Option<&HostKey> {
        self.keys.iter().find(|k| k.key.public().blob() == blob)
    }

    /// Those of the algorithms that there is a key for.
    pub(crate) fn usable(&self, algorithms: &[String]) -> Vec<String> {
        let has_key = |name: &&String| KeyAlgorithm::from_name(name).is_some_and(|a| self.find(a).is_some());
        algorithms.iter().filter(has_key).cloned().collect()
    }
}

enum LoadError {
    Missing,
    Other(String),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Missing => f.write_str("No such file or directory"),
            LoadError::Other(text) => f.write_str(text),
        }
    }
}

fn load(path: &Path) -> Result<PrivateKey, LoadError> {
    let other = |e: &dyn std::fmt::Display| LoadError::Other(e.to_string());
    let file = match file::open_regular(path, Links::Follow) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(LoadError::Missing),
        Err(e) => return Err(other(&e)),
    };
    let bytes = file::read_open(&file, path, keyfile::FILE_MAX).map_err(|e| other(&e))?;
    let mode = file.metadata().map_err(|e| other(&e))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(LoadError::Other(format!(
            "bad permissions: {mode:04o}: others could read the key; use chmod 600"
        )));
    }
    match keyfile::parse(&bytes, None) {
        Ok((key, _comment)) => Ok(key),
        Err(KeyFileError::NeedsPassphrase) => {
            Err(LoadError::Other("it has a passphrase; a host key must have none".into()))
        }
        Err(e) => Err(other(&e)),
    }
}

fn load_certificate(path: &Path) -> Result<Box<Certificate>, LoadError> {
    let other = |e: &dyn std::fmt::Display| LoadError::Other(e.to_string());
    let bytes = file::read_small(path, keyfile::FILE_MAX, Links::Follow).map_err(|e| other(&e))?;
    let (blob, _comment) = parse_public_line(&bytes).map_err(|e| other(&e))?;
    match KeyOrCert::parse(&blob).map_err(|e| other(&e))? {
        KeyOrCert::Cert(certificate) => Ok(certificate),
        KeyOrCert::Key(_) => Err(LoadError::Other("it is not a certificate".into())),
    }
}

/// Makes an Ed25519 key at `path` unless there is a file already.
pub(crate) fn ensure(path: &Path) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    let fail = |e: &dyn std::fmt::Display| format!("cannot make the host key {}: {e}", path.display());
    let key = PrivateKey::generate(KeyType::Ed25519).map_err(|e| fail(&e))?;
    let text = keyfile::write(&key, "sockward host key").map_err(|e| fail(&e))?;
    if let Some(directory) = path.parent() {
        create::private_directory(directory).map_err(|e| fail(&e))?;
    }
    create::secret_file(path, text.as_bytes()).map_err(|e| fail(&e))
}

/// Where a server that an ordinary user runs keeps its key: `$XDG_DATA_HOME/sockward`, else `~/.local/share/sockward`.
pub(crate) fn default_path(home: &Path) -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    data.unwrap_or_else(|| home.join(".local/share")).join("sockward/ssh_host_ed25519_key")
}

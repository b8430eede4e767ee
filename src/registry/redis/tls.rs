//! TLS to Redis (`rediss://`): whose certificates are believed, and which one we show. Files are read again for each
//! connection, so a new certificate is in use after the next reconnect.
//!
//! With a CA file only its authorities count. Without one the system's do: those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, else
//! the distribution's bundle. The client library reads the system's in either case, and a system bundle that can't
//! be read fails a connection even where a CA file is given: then name another in `SSL_CERT_FILE`.

use super::super::{Error, TlsFiles};
use crate::limits::tls as limits;
use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A client of the server at `info`, over TLS as `files` want it.
pub(super) fn client(info: ConnectionInfo, files: &TlsFiles) -> Result<Client, Error> {
    let root_cert = files.ca.as_deref().map(authorities).transpose()?;
    let client_tls = match &files.identity {
        Some((certificate, key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
        None => None,
    };
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(|error| {
        // It can't say which of the files it means.
        let names = [files.ca.as_ref()]
            .into_iter()
            .chain(files.identity.iter().flat_map(|(certificate, key)| [Some(certificate), Some(key)]));
        let names: Vec<String> = names.flatten().map(|file| file.display().to_string()).collect();
        Error::Tls(format!("{}: {error}", names.join(", ")))
    })
}

/// An empty list of authorities would be taken, and then believe nobody.
fn authorities(file: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read(file)?;
    let mark = b"-----BEGIN CERTIFICATE-----";
    if !bytes.windows(mark.len()).any(|window| window == mark) {
        return Err(Error::Tls(format!("{}: no certificate in it: give a PEM file", file.display())));
    }
    Ok(bytes)
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::Tls(format!(
            "{}: cannot be read ({error}): check that it exists and that this user may read it",
            file.display()
        ))
    };
    let mut bytes = Vec::new();
    let open = File::open(file).map_err(unreadable)?;
    open.take(limits::FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits::FILE_BYTES {
        let most = limits::FILE_BYTES;
        return Err(Error::Tls(format!("{}: more than {most} bytes: is it a PEM file?", file.display())));
    }
    Ok(bytes)
}

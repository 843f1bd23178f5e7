//! The unix socket of the client API: nobody but its owner may connect.
//!
//! Entry type is [`UnixSocket`]. It is made under another name and moved into place once its
//! permissions are set, so there is no moment at which others could connect.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Read and write for the owner.
const MODE: u32 = 0o600;

/// A listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl UnixSocket {
    /// Listens at `path`. A socket that nobody listens at any more is replaced. To be called on a
    /// runtime.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when somebody listens there, [`io::ErrorKind::AlreadyExists`]
    /// when something else than a socket is there, and what the system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        refuse_taken(path)?;
        let made = path.with_extension("new");
        remove_if_there(&made)?;
        let listener = UnixListener::bind(&made)?;
        let mut file = SocketFile(made);
        fs::set_permissions(&file.0, Permissions::from_mode(MODE))?;
        fs::rename(&file.0, path)?;
        path.clone_into(&mut file.0);
        Ok(Self { listener, file })
    }

    /// The listener and its file, which is to be kept as long as connections are taken.
    pub(super) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already, and there is nobody to tell.
        let _gone = fs::remove_file(&self.0);
    }
}

/// A way to the node that listens at `path`, for its owner.
pub(crate) async fn connect(path: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connect = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://node.invalid").connect_with_connector(connect).await
}

fn refuse_taken(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_may_connect_and_the_file_goes_with_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let socket = UnixSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_socket_in_use_stays_and_a_stale_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let socket = UnixSocket::bind(&path).unwrap();
        let error = UnixSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(StdUnixStream::connect(&path).is_ok());
        let (listener, file) = socket.into_parts();
        drop(listener);
        std::mem::forget(file);
        assert!(UnixSocket::bind(&path).is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        fs::write(&path, "precious").unwrap();
        let error = UnixSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}

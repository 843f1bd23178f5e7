//! What only the owner of a node may ask, over its socket (PROTOCOL §8.5).
//!
//! Entry types are [`OwnerCalls`] and [`Owned`], what it is about. It is served on the unix socket and nowhere else: whoever has the
//! token may read and send mail, and not write files as the node's user.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use comm_proto::rejection::{Rejection, Retry};
use comm_proto::wire::client::{
    BackupRequest, BackupResponse, CancelDrainRequest, CancelDrainResponse, DrainRequest,
    DrainResponse, GetFiguresRequest, GetFiguresResponse,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::backup::{BackupError, Source};
use crate::drain::{Drain, Drains};
use crate::figures::Figures;
use crate::rpc::client::owner_server::Owner;

use super::status::{refused, with_words};

/// What of a node only its owner may ask for.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Its data, to be copied.
    pub copies: Source,
    /// What it holds and has done.
    pub figures: Figures,
    /// Handing over what it holds.
    pub drains: Drains,
}

/// The calls; copies are made one at a time.
#[derive(Debug)]
pub(super) struct OwnerCalls {
    owned: Owned,
    one: Arc<Semaphore>,
}

impl OwnerCalls {
    pub(super) fn new(owned: Owned) -> Self {
        Self { owned, one: Arc::new(Semaphore::new(1)) }
    }
}

#[tonic::async_trait]
impl Owner for OwnerCalls {
    async fn backup(
        &self,
        request: Request<BackupRequest>,
    ) -> Result<Response<BackupResponse>, Status> {
        let to = request.into_inner().to;
        if !Path::new(&to).is_absolute() {
            return Err(refused(&Rejection::Malformed("to")));
        }
        let Ok(permit) = Arc::clone(&self.one).try_acquire_owned() else {
            return Err(refused(&Rejection::Busy));
        };
        let source = self.owned.copies.clone();
        let copied = spawn_blocking(move || {
            let _permit = permit;
            source.copy(Path::new(&to))
        });
        match copied.await {
            Ok(Ok(())) => Ok(Response::new(BackupResponse {})),
            Ok(Err(error)) => Err(not_copied(&error)),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }

    async fn get_figures(
        &self,
        _request: Request<GetFiguresRequest>,
    ) -> Result<Response<GetFiguresResponse>, Status> {
        let figures = self.owned.figures.clone();
        let response = spawn_blocking(move || figures.response()).await;
        response.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }

    type DrainStream = Pin<Box<dyn Stream<Item = Result<DrainResponse, Status>> + Send>>;

    async fn drain(
        &self,
        _request: Request<DrainRequest>,
    ) -> Result<Response<Self::DrainStream>, Status> {
        let (sender, reports) = mpsc::channel(1);
        tokio::spawn(report_until_over(self.owned.drains.begin(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(reports))))
    }

    async fn cancel_drain(
        &self,
        _request: Request<CancelDrainRequest>,
    ) -> Result<Response<CancelDrainResponse>, Status> {
        let was_under_way = self.owned.drains.cancel().await;
        Ok(Response::new(CancelDrainResponse { was_under_way }))
    }
}

/// Says how far it is each time that it has come further, up to its end; whoever reads slowly is told less often.
async fn report_until_over(
    mut drain: watch::Receiver<Drain>,
    reports: mpsc::Sender<Result<DrainResponse, Status>>,
) {
    loop {
        let now = *drain.borrow_and_update();
        let told = reports.send(Ok(now.into())).await;
        // Nobody listens any more, or the node is gone.
        if told.is_err() || now.is_over() || drain.changed().await.is_err() {
            return;
        }
    }
}

fn not_copied(error: &BackupError) -> Status {
    with_words(Status::failed_precondition(error.to_string()), "not-copied", Retry::Later)
}

//! What only the owner of a node may ask, over its socket (PROTOCOL §8.5).
//!
//! Entry types are [`OwnerCalls`] and [`Owned`], what it is about. It is served on the unix socket and
//! nowhere else: whoever has the token may read and send mail, and not write files as the node's user.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use comm_proto::rejection::{Rejection, Retry};
use comm_proto::wire::client::{
    BackupRequest, BackupResponse, BlockRequest, BlockResponse, CancelDrainRequest,
    CancelDrainResponse, DrainRequest, DrainResponse, ExamineRequest, ExamineResponse,
    GetDrainRequest, GetFiguresRequest, GetFiguresResponse, ListBlockedRequest,
    ListBlockedResponse, UnblockRequest, UnblockResponse,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::backup::{BackupError, Source};
use crate::blocking::{OwnBlocks, OwnBlocksError};
use crate::drain::{Drain, Drains};
use crate::examination::Examiner;
use crate::figures::Figures;
use crate::links::blocks::{Entry, NoEntry};
use crate::rpc::client::owner_server::Owner;

use super::status::{refused, with_words};

/// What of a node only its owner may ask for.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Its data, to be copied.
    pub copies: Source,
    /// What it holds and has done.
    pub figures: Figures,
    /// How others see it.
    pub examiner: Examiner,
    /// Handing over what it holds; nothing where a program that it is a part of decides when it ends.
    pub drains: Option<Drains>,
    /// Whom it has nothing to do with.
    pub blocks: OwnBlocks,
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

    fn drains(&self) -> Result<&Drains, Status> {
        let inside = "this node is part of a program and ends with it: it is not to be drained";
        self.owned.drains.as_ref().ok_or_else(|| Status::unimplemented(inside))
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

    async fn examine(
        &self,
        _request: Request<ExamineRequest>,
    ) -> Result<Response<ExamineResponse>, Status> {
        let examined = self.owned.examiner.examine().await;
        examined.map(Response::new).map_err(|reason| refused(&reason))
    }

    type DrainStream = Pin<Box<dyn Stream<Item = Result<DrainResponse, Status>> + Send>>;

    async fn drain(
        &self,
        _request: Request<DrainRequest>,
    ) -> Result<Response<Self::DrainStream>, Status> {
        let drains = self.drains()?;
        if self.owned.figures.rests_until().is_some() {
            let reason =
                "it hibernates and calls nobody: raise `traffic.volume_max` and reload it first";
            return Err(with_words(
                Status::failed_precondition(reason),
                "hibernating",
                Retry::Later,
            ));
        }
        let (sender, reports) = mpsc::channel(1);
        tokio::spawn(report_until_over(drains.begin(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(reports))))
    }

    async fn get_drain(
        &self,
        _request: Request<GetDrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        Ok(Response::new(self.drains()?.now().into()))
    }

    async fn cancel_drain(
        &self,
        _request: Request<CancelDrainRequest>,
    ) -> Result<Response<CancelDrainResponse>, Status> {
        let was_under_way = self.drains()?.cancel().await;
        Ok(Response::new(CancelDrainResponse { was_under_way }))
    }

    async fn block(
        &self,
        request: Request<BlockRequest>,
    ) -> Result<Response<BlockResponse>, Status> {
        let entries = entries(&request.into_inner().entries)?;
        let blocks = self.owned.blocks.clone();
        let added = changed(move || blocks.add(&entries)).await?;
        Ok(Response::new(BlockResponse { added: added as u64 }))
    }

    async fn unblock(
        &self,
        request: Request<UnblockRequest>,
    ) -> Result<Response<UnblockResponse>, Status> {
        let entries = entries(&request.into_inner().entries)?;
        let blocks = self.owned.blocks.clone();
        changed(move || blocks.remove(&entries)).await?;
        Ok(Response::new(UnblockResponse {}))
    }

    async fn list_blocked(
        &self,
        _request: Request<ListBlockedRequest>,
    ) -> Result<Response<ListBlockedResponse>, Status> {
        let texts = |entries: Vec<Entry>| entries.iter().map(ToString::to_string).collect();
        let blocks = &self.owned.blocks;
        let (by_command, by_file) = (texts(blocks.by_command()), texts(blocks.by_file()));
        Ok(Response::new(ListBlockedResponse { by_command, by_file }))
    }
}

fn entries(texts: &[String]) -> Result<Vec<Entry>, Status> {
    let parse = |text: &String| text.parse::<Entry>();
    let parsed: Result<Vec<_>, NoEntry> = texts.iter().map(parse).collect();
    parsed.map_err(|_| refused(&Rejection::Malformed("entries")))
}

/// Waits for the disk on a thread that may.
async fn changed<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, OwnBlocksError> + Send + 'static,
) -> Result<T, Status> {
    let result = spawn_blocking(change).await;
    result.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| {
        let text = error.to_string();
        match error {
            OwnBlocksError::NotThere { .. } => {
                with_words(Status::not_found(text), Rejection::Unknown.name(), Retry::Never)
            }
            OwnBlocksError::Full => {
                with_words(Status::out_of_range(text), "too-large", Retry::Never)
            }
            _ => with_words(Status::failed_precondition(text), "not-written", Retry::Later),
        }
    })
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

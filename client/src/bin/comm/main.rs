//! The program `comm`: a chat in the terminal, for people and for scripts.
//!
//! It ends with 0 when it was told to end or its input did, with 2 when it was called wrongly, with 1
//! when something else fails; each time with one line on standard error that says what. It uses the
//! library `comm` and nothing that another program could not use.

mod acquaintance;
mod arguments;
mod chat;
mod command_line;
mod export;
mod failure;
mod file_line;
mod filing;
mod forget;
mod input;
mod json;
mod kept;
mod lifetime;
mod line;
mod logging;
mod moment;
mod passphrase;
mod plain;
mod prompt;
mod room_order;
mod rooming;
mod said;
mod screen;
mod secret;
mod shown;
mod stop;
mod whose;

use std::process::ExitCode;

use clap::Parser;
use comm::store;
use comm_proto::identity::Identity;

use arguments::{Order, Plan};
use chat::Chat;
use command_line::Arguments;
use failure::Failure;
use said::say;
use screen::Screen;
use stop::Stop;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Whoever asked for help and closed the pipe has read enough.
            let _printed = error.print();
            return if error.use_stderr() { failure::misused() } else { ExitCode::SUCCESS };
        }
    };
    let Err(failure) = arguments.order().and_then(obey) else { return ExitCode::SUCCESS };
    eprintln!("comm: {failure}");
    failure.code()
}

fn obey(order: Order) -> Result<(), Failure> {
    match order {
        Order::Keygen { raw } => {
            let secret = secret::draw(raw);
            say(&secret).and_then(|()| say("\n"))
        }
        Order::Address(source) => say(&format!("{}\n", source.identity()?.address())),
        Order::Backup { file, whose } => {
            let bytes = store::back_up(&whose.data_dir()?, &file).map_err(Failure::failed)?;
            say(&format!("copied to {} ({bytes} bytes)\n", file.display()))
        }
        Order::Restore { file, whose } => {
            let dir = whose.data_dir()?;
            store::restore(&file, &dir).map_err(Failure::failed)?;
            say(&format!("restored to {}; do not run the original any more\n", dir.display()))
        }
        Order::Forget { whose, is_sure } => forget::forget(&whose.data_dir()?, is_sure),
        Order::Identity(order) => order.obey(),
        Order::Chat(plan) => {
            let identity = plan.secret.identity()?;
            let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
            let result = runtime.block_on(chat(identity, &plan));
            // A name being looked up in the background must not hold the end up.
            runtime.shutdown_background();
            result
        }
    }
}

async fn chat(identity: Identity, plan: &Plan) -> Result<(), Failure> {
    let config = plan.config(identity.address())?;
    let (mut screen, input) = Screen::open(plan.json);
    screen.set_bell(plan.bell);
    logging::start(plan.verbose, &screen)?;
    let mut stop = Stop::new().map_err(Failure::failed)?;
    let mut chat = tokio::select! {
        chat = Chat::start(identity, config, plan.ttl, screen) => chat?,
        () = stop.wanted() => return Ok(()),
    };
    chat.download_into(plan.downloads.clone());
    if let Some(link) = &plan.link {
        chat.follow(link).await;
    }
    chat.run(input.read(), &mut stop, plan.daemon).await
}

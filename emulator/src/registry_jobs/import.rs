//! Reading devices and modules in.

use futures_util::TryStreamExt;
use iothub_protocol::registry::{BulkError, BulkItem, ConfigurationLine, RegistryJob};
use iothub_protocol::{Error, ErrorCode};

use super::lines::{LONGEST, Line, Lines};
use super::location::{Access, Location};
use super::sink::Sink;
use super::{Failure, note, percent};
use crate::activity::OperationKind;
use crate::handle::HubHandle;

/// Elements that the hub takes at a time: what others wait for.
const STEP: usize = 250;
/// Elements that are tried again at the end, since their parent may come after them.
const RETRIED: usize = 100_000;

const ERROR_LOG: &str = "importErrors.log";

pub(super) async fn carry_out(handle: &HubHandle, job: &RegistryJob) -> Result<(), Failure> {
    let spec = &job.spec;
    let blobs = handle.blobs();
    let input = spec.input_container.as_deref().unwrap_or_default();
    let input = Location::resolve(input, blobs, Access::Proved)?;
    let output = Location::resolve(&spec.output_container, blobs, Access::Proved)?;
    let content = input.open(blobs, &spec.input_blob)?;
    let mut import = Import {
        handle,
        job,
        output,
        errors: None,
        items: Vec::with_capacity(STEP),
        orphans: Vec::new(),
        noted: 0,
    };
    let mut lines = Lines::default();
    let mut found = Vec::new();
    let mut read = 0;
    let mut pieces = content.stream(0..content.len());
    while let Some(piece) = pieces.try_next().await? {
        read += piece.len() as u64;
        lines.push(&piece, &mut found);
        import.take(&mut found).await?;
        import.note(percent(read, content.len())).await?;
    }
    lines.finish(&mut found);
    import.take(&mut found).await?;
    if spec.include_configurations {
        import.configurations(&input).await?;
    }
    import.finish().await
}

struct Import<'a> {
    handle: &'a HubHandle,
    job: &'a RegistryJob,
    output: Location,
    /// The log, once there is something to say.
    errors: Option<Sink>,
    /// What the hub takes next.
    items: Vec<BulkItem>,
    /// What had no parent when its turn came.
    orphans: Vec<(BulkItem, BulkError)>,
    noted: u8,
}

impl Import<'_> {
    async fn take(&mut self, found: &mut Vec<Line>) -> Result<(), Failure> {
        for line in found.drain(..) {
            let parsed = match line {
                Line::Whole(line) => BulkItem::parse_line(&line),
                Line::TooLong => Err(too_long()),
            };
            match parsed {
                Ok(item) => self.items.push(item),
                Err(error) => self.log(&nameless(error)).await?,
            }
            if self.items.len() >= STEP {
                self.step().await?;
            }
        }
        Ok(())
    }

    /// The other file, of which a hub has few lines.
    async fn configurations(&mut self, input: &Location) -> Result<(), Failure> {
        // A configuration may be about devices that are about to be created.
        self.step().await?;
        let content = input.open(self.handle.blobs(), &self.job.spec.configurations_blob)?;
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut pieces = content.stream(0..content.len());
        while let Some(piece) = pieces.try_next().await? {
            lines.push(&piece, &mut found);
            self.take_configurations(&mut found).await?;
        }
        lines.finish(&mut found);
        self.take_configurations(&mut found).await
    }

    async fn take_configurations(&mut self, found: &mut Vec<Line>) -> Result<(), Failure> {
        for line in found.drain(..) {
            let parsed = match line {
                Line::Whole(line) => ConfigurationLine::parse(&line),
                Line::TooLong => Err(too_long()),
            };
            let (id, result) = match parsed {
                Ok(line) => (line.id.as_str().to_owned(), self.configure(&line).await?),
                Err(error) => (String::new(), Err(error)),
            };
            if let Err(error) = result {
                let error = BulkError {
                    device_id: id,
                    ..nameless(error)
                };
                self.log(&error).await?;
            }
        }
        Ok(())
    }

    async fn configure(&self, line: &ConfigurationLine) -> Result<Result<(), Error>, Failure> {
        let operation = OperationKind::RunRegistryJob.hub_wide();
        let id = &self.job.id;
        self.handle
            .call(operation, |hub, cx| {
                Ok(hub.import_configuration(cx, id, line))
            })
            .await?
            .ok_or(Failure::Cancelled)
    }

    /// Hands the hub what has been gathered.
    async fn step(&mut self) -> Result<(), Failure> {
        for (item, error) in self.hand_over().await? {
            // A device without its parent, or a module whose device waits for one.
            let is_orphan = error.code == ErrorCode::InvalidDeviceScope
                || (error.code == ErrorCode::DeviceNotFound && item.module_id.is_some());
            if is_orphan && self.orphans.len() < RETRIED {
                self.orphans.push((item, error));
            } else {
                self.log(&error).await?;
            }
        }
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<Vec<(BulkItem, BulkError)>, Failure> {
        let items = std::mem::replace(&mut self.items, Vec::with_capacity(STEP));
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let operation = OperationKind::RunRegistryJob.hub_wide();
        let id = &self.job.id;
        self.handle
            .call(operation, |hub, cx| Ok(hub.import(cx, id, items)))
            .await?
            .ok_or(Failure::Cancelled)
    }

    /// Tries orphans again for as long as some of them find their parents.
    async fn finish(mut self) -> Result<(), Failure> {
        self.step().await?;
        loop {
            let orphans = std::mem::take(&mut self.orphans);
            let before = orphans.len();
            let mut left = Vec::new();
            for (item, _) in orphans {
                self.items.push(item);
                if self.items.len() >= STEP {
                    left.extend(self.hand_over().await?);
                }
            }
            left.extend(self.hand_over().await?);
            let is_over = left.is_empty() || left.len() == before;
            self.orphans = left;
            if is_over {
                break;
            }
        }
        for (_, error) in std::mem::take(&mut self.orphans) {
            self.log(&error).await?;
        }
        match self.errors.take() {
            Some(errors) => errors.finish(self.handle).await,
            None => Ok(()),
        }
    }

    async fn log(&mut self, error: &BulkError) -> Result<(), Failure> {
        let errors = match &mut self.errors {
            Some(errors) => errors,
            none => none.insert(Sink::create(self.handle, &self.output, ERROR_LOG).await?),
        };
        errors.line(&error.to_log_line()).await
    }

    /// Every few percent; also the moment to notice that nobody wants the job any more.
    async fn note(&mut self, progress: u8) -> Result<(), Failure> {
        const EVERY: u8 = 5;
        if progress >= self.noted + EVERY {
            self.noted = progress;
            note(self.handle, self.job, progress).await?;
        }
        Ok(())
    }
}

fn too_long() -> Error {
    Error::format(format!("a line has more than {LONGEST} bytes"))
}

/// The error of a line that names nobody.
fn nameless(error: Error) -> BulkError {
    BulkError {
        device_id: String::new(),
        module_id: None,
        code: error.code,
        status: error.detail,
        operation: String::new(),
    }
}

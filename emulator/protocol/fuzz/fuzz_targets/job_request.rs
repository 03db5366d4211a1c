//! Bodies that schedule jobs: no panic, and what is accepted can be read again.
#![no_main]

use iothub_protocol::job::{JobRequest, JobWork};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((request, text)) = JobRequest::parse("j1", data) {
        assert_eq!(JobWork::parse(request.kind(), &text), Ok(request.work));
    }
});

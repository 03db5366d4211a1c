//! Digital twins: the Plug and Play view of a twin (`spec/service.md` 9).

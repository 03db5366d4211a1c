//! The query language (`spec/service.md` 5).

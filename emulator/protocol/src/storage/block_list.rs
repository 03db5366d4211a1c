//! The body of Put Block List: which blocks make the blob, in order.

/// Blocks of one blob ("Put Block List").
pub const MAX_BLOCKS: usize = 50_000;

/// A block of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Where to look for it.
    pub choice: BlockChoice,
    /// Its name, base64.
    pub id: String,
}

/// Where a block is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockChoice {
    /// Among those that the blob is made of.
    Committed,
    /// Among those that were sent since.
    Uncommitted,
    /// Among the latter, then among the former.
    Latest,
}

/// Why a list cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockListError {
    /// It is no list at all.
    #[error("the body is no block list, at byte {0}")]
    Malformed(usize),
    /// It has more blocks than a blob may.
    #[error("a blob has at most {MAX_BLOCKS} blocks")]
    TooMany,
}

/// Parses `<BlockList><Latest>id</Latest>…</BlockList>`.
pub fn parse_block_list(body: &[u8]) -> Result<Vec<BlockRef>, BlockListError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| BlockListError::Malformed(error.valid_up_to()))?;
    Reader { text, at: 0 }.list()
}

/// As much of an XML reader as the list needs: no entities of its own, no mixed content.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn list(mut self) -> Result<Vec<BlockRef>, BlockListError> {
        self.take("\u{feff}");
        self.skip_misc()?;
        let mut blocks = Vec::new();
        let (name, empty) = self.open()?;
        if name != "BlockList" {
            return Err(self.malformed());
        }
        if !empty {
            loop {
                self.skip_misc()?;
                if self.take("</") {
                    self.close("BlockList")?;
                    break;
                }
                if blocks.len() == MAX_BLOCKS {
                    return Err(BlockListError::TooMany);
                }
                blocks.push(self.block()?);
            }
        }
        self.skip_misc()?;
        if self.rest().is_empty() {
            Ok(blocks)
        } else {
            Err(self.malformed())
        }
    }

    fn block(&mut self) -> Result<BlockRef, BlockListError> {
        let (name, empty) = self.open()?;
        let choice = match name {
            "Committed" => BlockChoice::Committed,
            "Uncommitted" => BlockChoice::Uncommitted,
            "Latest" => BlockChoice::Latest,
            _ => return Err(self.malformed()),
        };
        if empty {
            return Err(self.malformed());
        }
        let content = self.until("<")?;
        let id = unescape(content).ok_or_else(|| self.malformed())?;
        if !self.take("/") {
            return Err(self.malformed());
        }
        self.close(name)?;
        Ok(BlockRef { choice, id })
    }

    /// `<Name …>` or `<Name …/>`; whether it is the latter.
    fn open(&mut self) -> Result<(&'a str, bool), BlockListError> {
        if !self.take("<") {
            return Err(self.malformed());
        }
        let inside = self.until(">")?;
        let (inside, empty) = match inside.strip_suffix('/') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let name = inside
            .split(|c: char| c.is_ascii_whitespace())
            .next()
            .unwrap_or_default();
        Ok((name, empty))
    }

    /// The rest of `</Name>`.
    fn close(&mut self, name: &str) -> Result<(), BlockListError> {
        if self.until(">")?.trim_ascii_end() == name {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// White space, the XML declaration, comments.
    fn skip_misc(&mut self) -> Result<(), BlockListError> {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_ascii_start().len();
            if self.take("<?") {
                self.until("?>")?;
            } else if self.take("<!--") {
                self.until("-->")?;
            } else {
                return Ok(());
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn until(&mut self, token: &str) -> Result<&'a str, BlockListError> {
        let rest = self.rest();
        let end = rest.find(token).ok_or_else(|| self.malformed())?;
        self.at += end + token.len();
        Ok(&rest[..end])
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn malformed(&self) -> BlockListError {
        BlockListError::Malformed(self.at)
    }
}

/// Ids are base64, so that nothing but a cautious client escapes anything.
fn unescape(text: &str) -> Option<String> {
    let text = text.trim_ascii();
    if !text.contains('&') {
        return Some(text.to_owned());
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (entity, after) = after.split_once(';')?;
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let code = match entity.strip_prefix("#x") {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => entity.strip_prefix('#')?.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(body: &str) -> Vec<String> {
        let blocks = parse_block_list(body.as_bytes()).unwrap();
        blocks.into_iter().map(|block| block.id).collect()
    }

    #[test]
    fn lists_of_the_storage_libraries_are_read() {
        // Python, Node and C each print their own white space.
        assert_eq!(
            ids(
                "<?xml version='1.0' encoding='utf-8'?>\n<BlockList><Latest>YQ==</Latest>\
                 <Latest>Yg==</Latest></BlockList>"
            ),
            ["YQ==", "Yg=="]
        );
        assert_eq!(
            ids(
                "\u{feff}<?xml version=\"1.0\"?>\r\n<BlockList xmlns=\"x\">\r\n  <Committed>a</Committed>\
                 \r\n <!-- c --> <Uncommitted >b&#43;&amp;</Uncommitted>\n</BlockList>\n"
            ),
            ["a", "b+&"]
        );
        assert_eq!(ids("<BlockList/>"), [""; 0]);
        assert_eq!(ids("<BlockList />"), [""; 0]);
    }

    #[test]
    fn other_bodies_are_refused() {
        for body in [
            "",
            "BlockList",
            "<BlockList>",
            "<BlockList><Latest>a</BlockList>",
            "<BlockList><Latest>a</Committed></BlockList>",
            "<BlockList><Other>a</Other></BlockList>",
            "<BlockList><Latest/></BlockList>",
            "<BlockList></BlockList>x",
            "<BlockList><Latest>&bad;</Latest></BlockList>",
        ] {
            let error = parse_block_list(body.as_bytes());
            assert!(matches!(error, Err(BlockListError::Malformed(_))), "{body}");
        }
        let long = format!("<BlockList>{}", "<Latest>a</Latest>".repeat(MAX_BLOCKS + 1));
        assert_eq!(
            parse_block_list(long.as_bytes()),
            Err(BlockListError::TooMany)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[<>/?!&;# a-cBLl=\"-]{0,60}|.{0,40}") {
            let _ = parse_block_list(text.as_bytes());
            let _ = parse_block_list(format!("<BlockList><Latest>{text}").as_bytes());
        }
    }
}

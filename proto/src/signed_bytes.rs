//! Bytes that are hashed or signed, laid out field by field (PROTOCOL §2.3).
//!
//! Entry types are [`SignedBytes`], which writes such bytes, and [`FieldReader`], which reads the
//! same layout back. A layout starts with its own context, so that bytes of one kind are never
//! bytes of another, and every field either has a fixed length or carries it, so that no two values
//! have the same bytes. This is not the wire format and knows no field names, defaults or versions.

use thiserror::Error;

/// A builder for bytes that are hashed or signed (PROTOCOL §2.3).
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedBytes(Vec<u8>);

/// Reads fields from the front of a byte string that somebody else may have made up.
#[derive(Clone, Debug)]
pub struct FieldReader<'a>(&'a [u8]);

/// Why bytes do not have the layout that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    Truncated,
    /// A field says that it is longer than its limit.
    #[error("a field is longer than its limit")]
    TooLong,
    /// The bytes begin with another context.
    #[error("the bytes are of another kind")]
    Context,
    /// There are bytes after the last field.
    #[error("there are bytes after the last field")]
    Trailing,
}

impl SignedBytes {
    /// Bytes that begin with `context`, which must be ASCII that ends in its only NUL.
    pub fn new(context: &'static [u8]) -> Self {
        debug_assert!(context.is_ascii());
        debug_assert_eq!(context.iter().position(|byte| *byte == 0), Some(context.len() - 1));
        Self(context.to_vec())
    }

    /// One byte.
    pub fn u8(self, value: u8) -> Self {
        self.array(&[value])
    }

    /// Two bytes, big-endian.
    pub fn u16(self, value: u16) -> Self {
        self.array(&value.to_be_bytes())
    }

    /// Four bytes, big-endian.
    pub fn u32(self, value: u32) -> Self {
        self.array(&value.to_be_bytes())
    }

    /// Eight bytes, big-endian.
    pub fn u64(self, value: u64) -> Self {
        self.array(&value.to_be_bytes())
    }

    /// Bytes as they are; for fields whose length the layout fixes.
    pub fn array(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// A length of four bytes, then that many bytes; for fields whose length varies.
    pub fn bytes(self, value: &[u8]) -> Self {
        let length = u32::try_from(value.len()).expect("every field is limited to far below 4 GiB");
        self.u32(length).array(value)
    }

    /// The finished bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl<'a> FieldReader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads over `context`.
    ///
    /// # Errors
    ///
    /// [`FieldError::Context`] when the bytes begin differently.
    pub fn context(&mut self, context: &'static [u8]) -> Result<(), FieldError> {
        self.0 = self.0.strip_prefix(context).ok_or(FieldError::Context)?;
        Ok(())
    }

    /// Reads one byte.
    ///
    /// # Errors
    ///
    /// [`FieldError::Truncated`].
    pub fn u8(&mut self) -> Result<u8, FieldError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Reads a big-endian number of two bytes.
    ///
    /// # Errors
    ///
    /// [`FieldError::Truncated`].
    pub fn u16(&mut self) -> Result<u16, FieldError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads a big-endian number of four bytes.
    ///
    /// # Errors
    ///
    /// [`FieldError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, FieldError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a big-endian number of eight bytes.
    ///
    /// # Errors
    ///
    /// [`FieldError::Truncated`].
    pub fn u64(&mut self) -> Result<u64, FieldError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a field of fixed length.
    ///
    /// # Errors
    ///
    /// [`FieldError::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(FieldError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    /// Reads a field that carries its length, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`FieldError::TooLong`] beyond `limit`, [`FieldError::Truncated`] at the end of the bytes.
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], FieldError> {
        let length = usize::try_from(self.u32()?).map_err(|_| FieldError::TooLong)?;
        if length > limit {
            return Err(FieldError::TooLong);
        }
        let (field, rest) = self.0.split_at_checked(length).ok_or(FieldError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Makes sure that everything has been read.
    ///
    /// # Errors
    ///
    /// [`FieldError::Trailing`] when something is left.
    pub const fn finish(self) -> Result<(), FieldError> {
        if self.0.is_empty() { Ok(()) } else { Err(FieldError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTEXT: &[u8] = b"comm/test/v1\0";

    #[test]
    fn every_field_is_big_endian_and_in_the_order_written() {
        let bytes = SignedBytes::new(CONTEXT).u8(1).u16(2).u32(3).u64(4).array(&[5, 6]).bytes(&[7]);
        let fields = "01 0002 00000003 0000000000000004 0506 00000001 07".replace(' ', "");
        assert_eq!(hex::encode(bytes.finish()), hex::encode(CONTEXT) + &fields);
    }

    #[test]
    fn a_field_beyond_its_limit_is_refused_before_it_is_looked_for() {
        let bytes = SignedBytes::new(CONTEXT).u32(u32::MAX).finish();
        let mut reader = FieldReader::new(&bytes);
        assert_eq!(reader.context(CONTEXT), Ok(()));
        assert_eq!(reader.clone().bytes(9), Err(FieldError::TooLong));
        assert_eq!(reader.bytes(u32::MAX as usize), Err(FieldError::Truncated));
    }

    #[test]
    fn another_context_and_trailing_bytes_are_refused() {
        let mut reader = FieldReader::new(b"comm/test/v2\0");
        assert_eq!(reader.context(CONTEXT), Err(FieldError::Context));
        assert_eq!(reader.finish(), Err(FieldError::Trailing));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            (a, b, c, d) in any::<(u8, u16, u32, u64)>(),
            fixed: [u8; 5],
            varying in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let bytes = SignedBytes::new(CONTEXT).u8(a).u16(b).u32(c).u64(d);
            let bytes = bytes.array(&fixed).bytes(&varying).finish();
            let mut reader = FieldReader::new(&bytes);
            prop_assert_eq!(reader.context(CONTEXT), Ok(()));
            prop_assert_eq!((reader.u8(), reader.u16()), (Ok(a), Ok(b)));
            prop_assert_eq!((reader.u32(), reader.u64()), (Ok(c), Ok(d)));
            prop_assert_eq!(reader.array(), Ok(fixed));
            prop_assert_eq!(reader.bytes(40), Ok(&varying[..]));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn a_cut_layout_is_truncated(cut in 0_usize..18) {
            let bytes = SignedBytes::new(CONTEXT).u64(1).bytes(&[2; 6]).finish();
            let mut reader = FieldReader::new(&bytes[..CONTEXT.len() + cut]);
            prop_assert_eq!(reader.context(CONTEXT), Ok(()));
            let read = reader.u64().and_then(|_| reader.bytes(6));
            prop_assert_eq!(read, Err(FieldError::Truncated));
        }
    }
}

//! A linked program: its sections and symbols.

use std::{collections::BTreeMap, fs, path::Path};

use object::{File, Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::Result;

/// Sections that are stored in flash.
pub const FLASH: [&str; 3] = [".text", ".rodata", ".data"];

pub struct Symbol {
    pub name: String,
    pub address: u64,
    pub size: u64,
    pub section: String,
    is_function: bool,
}

pub struct Section {
    pub address: u64,
    pub size: u64,
    pub content: &'static [u8],
}

/// A linked program. It stays in memory until the process ends.
pub struct Program {
    pub bytes: &'static [u8],
    file: File<'static>,
    pub symbols: Vec<Symbol>,
}

impl Program {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let bytes: &'static [u8] = bytes.leak();
        let file = File::parse(bytes)?;
        let symbols = file.symbols().map(|symbol| {
            let section = match symbol.section_index() {
                Some(index) => file.section_by_index(index)?.name()?.to_owned(),
                None => String::new(),
            };
            Ok(Symbol {
                name: symbol.name()?.to_owned(),
                address: symbol.address(),
                size: symbol.size(),
                section,
                is_function: symbol.kind() == SymbolKind::Text,
            })
        });
        let symbols = symbols.collect::<Result<_>>()?;
        Ok(Self {
            bytes,
            file,
            symbols,
        })
    }

    /// Returns the section with this name, or an empty one if there is none.
    pub fn section(&self, name: &str) -> Result<Section> {
        let Some(section) = self.file.section_by_name(name) else {
            return Ok(Section {
                address: 0,
                size: 0,
                content: &[],
            });
        };
        Ok(Section {
            address: section.address(),
            size: section.size(),
            content: section.data()?,
        })
    }

    pub fn functions(&self) -> impl Iterator<Item = &Symbol> {
        let functions = self
            .symbols
            .iter()
            .filter(|it| it.is_function && it.size > 0);
        functions.filter(|it| it.section == ".text")
    }

    /// Returns the bytes of own code, and of the functions that the compiler calls.
    pub fn flash(&self) -> Result<(u64, u64)> {
        let mut total = 0;
        for name in FLASH {
            total += self.section(name)?.size;
        }
        let is_builtin = |it: &&Symbol| FLASH.contains(&&*it.section) && is_builtin(&it.name);
        // Several names of a function count once.
        let builtins: BTreeMap<_, _> = self
            .symbols
            .iter()
            .filter(is_builtin)
            .map(|it| (it.address, it.size))
            .collect();
        let builtin = builtins.values().sum();
        Ok((total - builtin, builtin))
    }

    /// Returns the size of the static `SIZE_OF_` and this name.
    pub fn size_of(&self, name: &str) -> Result<u64> {
        let found = self
            .symbols
            .iter()
            .find(|it| it.name.strip_prefix("SIZE_OF_") == Some(name));
        Ok(found
            .ok_or_else(|| format!("there is no SIZE_OF_{name}"))?
            .size)
    }

    pub fn contains(&self, text: &[u8]) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text)
    }
}

fn is_builtin(name: &str) -> bool {
    name.contains("compiler_builtins")
        || name.starts_with("__")
        || ["memcpy", "memmove", "memset", "memcmp", "bcmp"].contains(&name)
}

//! The largest stack usage of each function with its callees, from the frame sizes that the compiler recorded and the
//! calls in the code.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use crate::{
    Result,
    program::{FLASH, Program, Section},
};

/// Bytes of stack along the deepest path of calls from a function, and the functions of this path.
type Depth = (u64, Vec<String>);

pub struct Function {
    pub name: String,
    code: Range<u64>,
}

/// The stack usage of an ARMv6-M program: its functions, their frames, and the calls between them.
pub struct Stacks {
    text: Section,
    /// By address, without the bit for Thumb.
    pub functions: BTreeMap<u64, Function>,
    frames: HashMap<u64, u64>,
    /// `true`: code begins here; `false`: data.
    marks: BTreeMap<u64, bool>,
    /// Functions whose addresses are somewhere in memory.
    pointed_at: BTreeSet<u64>,
    depths: HashMap<u64, Depth>,
}

/// An instruction: its address and one or two half-words.
struct Instruction {
    at: u64,
    half: u16,
    low: Option<u16>,
}

impl Stacks {
    pub fn new(program: &Program) -> Result<Self> {
        let functions: BTreeMap<_, _> = program
            .functions()
            .map(|it| {
                let begin = it.address & !1;
                let code = begin..begin + it.size;
                (
                    begin,
                    Function {
                        name: it.name.clone(),
                        code,
                    },
                )
            })
            .collect();
        let mut words = BTreeSet::new();
        for name in FLASH {
            words.extend(words_of(program.section(name)?.content));
        }
        let marks = program
            .symbols
            .iter()
            .filter(|it| it.section == ".text")
            .filter_map(|it| {
                let is_code = match it.name.get(..2)? {
                    "$t" => true,
                    "$d" => false,
                    _ => return None,
                };
                Some((it.address, is_code))
            });
        Ok(Self {
            text: program.section(".text")?,
            frames: frames(program.section(".stack_sizes")?.content),
            marks: marks.collect(),
            pointed_at: functions
                .keys()
                .copied()
                .filter(|at| words.contains(&(at | 1)))
                .collect(),
            functions,
            depths: HashMap::new(),
        })
    }

    /// Returns the half-word at this address.
    fn half(&self, at: u64) -> u16 {
        let at = usize::try_from(at - self.text.address).unwrap();
        u16::from_le_bytes(self.text.content[at..at + 2].try_into().unwrap())
    }

    fn instructions(&self, code: &Range<u64>) -> Vec<Instruction> {
        let mut instructions = Vec::new();
        let mut at = code.start;
        let mut is_code = true;
        while at < code.end {
            is_code = self.marks.get(&at).copied().unwrap_or(is_code);
            let half = self.half(at);
            let is_wide = matches!(half >> 11, 0b11101..=0b11111);
            if is_code {
                let low = is_wide.then(|| self.half(at + 2));
                instructions.push(Instruction { at, half, low });
            }
            at += if is_code && is_wide { 4 } else { 2 };
        }
        instructions
    }

    /// Returns the functions that this one calls or jumps to at its end. For a call through a pointer, these are all
    /// functions with an address in memory.
    fn callees(&self, function: &Function) -> BTreeSet<u64> {
        let mut callees = BTreeSet::new();
        for Instruction { at, half, low } in self.instructions(&function.code) {
            match low {
                // BL
                Some(low) if half >> 11 == 0b11110 && low >> 14 == 0b11 && low & 0x1000 != 0 => {
                    callees.insert(branch_and_link(at, half, low));
                }
                // B, if it leaves the function
                None if half >> 11 == 0b11100 => {
                    let target = offset(at, u64::from(half & 0x7FF) << 1, 12);
                    if !function.code.contains(&target) {
                        callees.insert(target);
                    }
                }
                // BLX with a register
                None if half & 0xFF87 == 0x4780 => {
                    let own = self.own_pointers(function);
                    callees.extend(if own.is_empty() {
                        &self.pointed_at
                    } else {
                        &own
                    });
                }
                _ => {}
            }
        }
        callees
    }

    /// Returns the functions whose addresses are in the code of this one. The compiler stores an address there if the
    /// function is called more than twice, because the code is then shorter.
    fn own_pointers(&self, function: &Function) -> BTreeSet<u64> {
        let begin = ((function.code.start + 3) & !3) - self.text.address;
        let end = function.code.end - self.text.address;
        let range = usize::try_from(begin).unwrap()..usize::try_from(end).unwrap();
        let words = words_of(self.text.content.get(range).unwrap_or_default());
        words
            .filter(|word| word & 1 == 1)
            .map(|word| word & !1)
            .filter(|at| self.functions.contains_key(at))
            .collect()
    }

    /// Returns the deepest path of calls from the function at this address.
    pub fn deepest(&mut self, address: u64) -> Result<Depth> {
        self.deepest_below(address, &mut Vec::new())
    }

    fn deepest_below(&mut self, address: u64, path: &mut Vec<u64>) -> Result<Depth> {
        if let Some(depth) = self.depths.get(&address) {
            return Ok(depth.clone());
        }
        let Some(function) = self.functions.get(&address) else {
            return Ok((0, Vec::new())); // outside: the transport, the clock
        };
        let name = function.name.clone();
        if path.contains(&address) {
            return Err(format!("{name} calls itself").into());
        }
        let callees = self.callees(function);
        path.push(address);
        let mut deepest = (0, Vec::new());
        for callee in callees {
            deepest = deepest.max(self.deepest_below(callee, path)?);
        }
        path.pop();
        let mut names = vec![name];
        names.extend(deepest.1);
        let depth = (self.frame(address) + deepest.0, names);
        self.depths.insert(address, depth.clone());
        Ok(depth)
    }

    /// Returns the frame size that the compiler recorded. For a builtin in assembly, counts the bytes that it pushes
    /// and subtracts from the stack pointer.
    pub fn frame(&self, address: u64) -> u64 {
        if let Some(frame) = self.frames.get(&address) {
            return *frame;
        }
        let instructions = self
            .functions
            .get(&address)
            .map(|it| self.instructions(&it.code));
        let narrow = instructions
            .into_iter()
            .flatten()
            .filter(|it| it.low.is_none());
        let bytes = narrow.map(|it| match it.half {
            // PUSH, then SUB from the stack pointer
            half if half >> 9 == 0b101_1010 => 4 * u64::from((half & 0x1FF).count_ones()),
            half if half >> 7 == 0b1_0110_0001 => 4 * u64::from(half & 0x7F),
            _ => 0,
        });
        bytes.sum()
    }
}

/// Returns the words in these bytes. Each may be the address of a function that is called through a pointer.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let words = bytes.chunks_exact(4);
    words.map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())))
}

/// Reads `.stack_sizes`: each entry is an address, and a frame size in LEB128.
fn frames(mut data: &[u8]) -> HashMap<u64, u64> {
    let mut frames = HashMap::new();
    while let Some((address, rest)) = data.split_first_chunk::<4>() {
        let mut frame = 0;
        let mut shift = 0;
        data = rest;
        while let Some((byte, rest)) = data.split_first() {
            frame |= u64::from(byte & 0x7F) << shift;
            shift += 7;
            data = rest;
            if byte & 0x80 == 0 {
                break;
            }
        }
        frames.insert(u64::from(u32::from_le_bytes(*address) & !1), frame);
    }
    frames
}

/// Returns the target of a branch. `value` is its offset, a signed number of `bits` bits.
fn offset(at: u64, value: u64, bits: u32) -> u64 {
    let sign = 1 << (bits - 1);
    let value = (value ^ sign).wrapping_sub(sign);
    (at + 4).wrapping_add(value)
}

/// Returns the target of a BL instruction.
fn branch_and_link(at: u64, half: u16, low: u16) -> u64 {
    let (half, low) = (u64::from(half), u64::from(low));
    let (s, j1, j2) = (half >> 10 & 1, low >> 13 & 1, low >> 11 & 1);
    let (i1, i2) = (1 ^ j1 ^ s, 1 ^ j2 ^ s);
    let value = s << 24 | i1 << 23 | i2 << 22 | (half & 0x3FF) << 12 | (low & 0x7FF) << 1;
    offset(at, value, 25)
}

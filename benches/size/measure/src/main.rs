//! Reads the linked programs of `benches/size`: flash, RAM and the deepest stack of each call.
//!
//! Started by `.ci/size`, which builds the programs: `measure [--write] [--paths] TARGET_DIR`

mod program;
mod stack;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use program::Program;
use stack::Stacks;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BEGIN: &str = "<!-- .ci/size --write -->";
const END: &str = "<!-- end of .ci/size -->";

const TARGETS: [&str; 3] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabi",
    "riscv32imc-unknown-none-elf",
];
const LEVELS: [&str; 2] = ["z", "s"];
const PROGRAMS: [&str; 6] = [
    "codec-loop",
    "client-qos1",
    "client-full",
    "client-full-async",
    "device",
    "device-async",
];
/// Goals for own code at opt-level z in bytes, by program and chip.
const GOALS: [(&str, &str, u64); 5] = [
    ("codec-loop", "thumbv6m", 1700),
    ("codec-loop", "riscv32imc", 2000),
    ("client-qos1", "thumbv6m", 11_000),
    ("client-full", "thumbv6m", 12_000),
    ("client-full-async", "thumbv6m", 14_000),
];
/// Own code of libraries in C that check less, in bytes, by program and chip.
const IN_C: [(&str, &str, u64); 5] = [
    ("codec-loop", "thumbv6m", 1350),
    ("codec-loop", "riscv32imc", 1500),
    ("client-qos1", "thumbv6m", 2650),
    ("client-full", "thumbv6m", 3900),
    ("client-full", "riscv32imc", 4250),
];
const RAM_GOALS: [(&str, u64); 1] = [("Session", 200)];
const RAM_IN_C: [(&str, u64); 3] = [
    ("Session", 112),
    ("each in-flight slot", 8),
    ("each inbound id", 2),
];
/// Goal for the stack of every public call.
const STACK_GOAL: u64 = 400;
/// Growth in percent that is not reported: the compiler's choices vary.
const TOLERANCE: u64 = 1;

/// The cells of a row.
type Row = Vec<String>;

fn chip(target: &str) -> &str {
    target.split('-').next().unwrap_or(target)
}

/// The programs in the target folder of a build.
struct Programs(PathBuf);

impl Programs {
    fn read(&self, level: &str, target: &str, program: &str) -> Result<Program> {
        let file = format!("size-{level}/{target}/release/{program}");
        Program::read(&self.0.join(file))
    }

    fn flash_rows(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for program in PROGRAMS {
            for target in TARGETS {
                for level in LEVELS {
                    let elf = self.read(level, target, program)?;
                    // `codec-loop` must have no code of the session, and all others must have it. A path or a
                    // symbol shows even inlined code.
                    let has_session = elf.contains(b"src/session") || elf.contains(b"7session");
                    let chip = chip(target);
                    if has_session == (program == "codec-loop") {
                        return Err(format!(
                            "{program}, {chip}, {level}: session code: {has_session}"
                        )
                        .into());
                    }
                    let (own, builtins) = elf.flash()?;
                    let figure = |table: &[(&str, &str, u64)]| {
                        let is_same = |it: &&(_, _, u64)| (it.0, it.1) == (program, chip);
                        let found = table.iter().find(is_same).filter(|_| level == "z");
                        found.map_or(String::new(), |it| it.2.to_string())
                    };
                    rows.push(vec![
                        format!("`{program}`, {chip}, {level}"),
                        own.to_string(),
                        builtins.to_string(),
                        (own + builtins).to_string(),
                        figure(&GOALS),
                        figure(&IN_C),
                    ]);
                }
            }
        }
        Ok(rows)
    }
}

fn ram_rows(elf: &Program) -> Result<Vec<Row>> {
    let storage = elf.size_of("STORAGE")?;
    let slot = (elf.size_of("STORAGE_AND_32_SLOTS")? - storage) / 32;
    let inbound_id = (elf.size_of("STORAGE_AND_32_IDS")? - storage) / 32;
    let rows = [
        ("Session", elf.size_of("SESSION")?),
        (
            "storage, without buffers, slots and ids",
            storage - 2 * 16 - 2 * slot - 4 * inbound_id,
        ),
        ("each in-flight slot", slot),
        ("each inbound id", inbound_id),
        ("blocking client", elf.size_of("BLOCKING_CLIENT")?),
        ("async client", elf.size_of("ASYNC_CLIENT")?),
    ];
    let figure = |table: &[(&str, u64)], name| {
        let found = table.iter().find(|it| it.0 == name);
        found.map_or(String::new(), |it| it.1.to_string())
    };
    Ok(rows
        .map(|(name, size)| {
            vec![
                name.to_owned(),
                size.to_string(),
                figure(&RAM_GOALS, name),
                figure(&RAM_IN_C, name),
            ]
        })
        .into())
}

fn stack_rows(elf: &Program, paths: bool) -> Result<Vec<Row>> {
    let mut stacks = Stacks::new(elf)?;
    let mut functions: Vec<_> = elf.functions().collect();
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    let mut rows = Vec::new();
    for function in functions {
        let Some((layer @ ("session" | "blocking"), call)) = function.name.split_once('_') else {
            continue;
        };
        let (depth, path) = stacks.deepest(function.address & !1)?;
        rows.push(vec![
            format!("{layer}: `{call}`"),
            depth.to_string(),
            STACK_GOAL.to_string(),
        ]);
        if paths {
            println!("{depth} {}", function.name);
            for name in path {
                let address = stacks
                    .functions
                    .iter()
                    .find(|it| it.1.name == name)
                    .map_or(0, |it| *it.0);
                println!("    {:5} {name}", stacks.frame(address));
            }
        }
    }
    Ok(rows)
}

fn table(headers: &[&str], rows: &[Row]) -> Vec<String> {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let headers: Vec<_> = headers.iter().map(|&it| it.to_owned()).collect();
    let mut lines = vec![
        line(&headers),
        format!("| --- {}|", "| ---: ".repeat(headers.len() - 1)),
    ];
    lines.extend(rows.iter().map(|row| line(row)));
    lines
}

const INTRODUCTION: &str = "\
# Flash, RAM and stack

Written by `.ci/size --write`, and checked by `.ci/size`. All in bytes. Flash is text and rodata of the programs in
`src/bin`, with LTO, by chip and opt-level, without the driver of the transport. `own` is the code of program, library and `core`.
`builtins` is the code that the compiler calls (memcpy, division). RAM and stack are for thumbv6m, opt-level z.

`goal` is the goal for own code at opt-level z, for RAM, and for the stack of every call. `C` is the size of libraries in C that
check less: no UTF-8, no wildcards, no NUL, no state across connections. It shows how small such a client can be.";

fn whole_table(programs: &Programs, paths: bool) -> Result<Vec<String>> {
    let elf = programs.read("z", TARGETS[0], "ram")?;
    let mut lines: Vec<_> = INTRODUCTION.lines().map(str::to_owned).collect();
    lines.push(String::new());
    lines.extend(table(
        &["flash", "own", "builtins", "sum", "goal", "C"],
        &programs.flash_rows()?,
    ));
    lines.push(String::new());
    lines.extend(table(&["RAM", "size", "goal", "C"], &ram_rows(&elf)?));
    lines.push(String::new());
    lines.extend(table(
        &["deepest stack", "size", "goal"],
        &stack_rows(&elf, paths)?,
    ));
    Ok(lines)
}

/// Returns the first figure of each row, by the name of the row.
fn figures<'l>(lines: impl IntoIterator<Item = &'l str>) -> BTreeMap<&'l str, u64> {
    let rows = lines.into_iter().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| {
        let mut cells = row.trim_end_matches(['|', ' ']).split(" | ");
        Some((cells.next()?, cells.next()?.parse().ok()?))
    })
    .collect()
}

/// Returns the section of the README: own code at opt-level z, RAM, and the deepest stack of all calls.
fn readme_section(kept: &str) -> Result<String> {
    let figures = figures(kept.lines());
    let figure = |name: &str| {
        figures
            .get(name)
            .ok_or_else(|| format!("the table has no row {name:?}"))
    };
    let chips = TARGETS.map(chip);
    let mut flash = Vec::new();
    for program in PROGRAMS {
        let mut row = vec![format!("`{program}`")];
        for chip in chips {
            row.push(figure(&format!("`{program}`, {chip}, z"))?.to_string());
        }
        flash.push(row);
    }
    let deepest = |layer| {
        figures
            .iter()
            .filter(|it| it.0.starts_with(layer))
            .map(|it| *it.1)
            .max()
            .unwrap_or(0)
    };
    let mut lines = table(
        &["flash, opt-level z, LTO", chips[0], chips[1], chips[2]],
        &flash,
    );
    lines.push(format!(
        "
RAM on a 32-bit chip: {} bytes a `Session`, {} each in-flight slot, {} each inbound id, the buffers, and at most {}
bytes of stack in a call of the session, {} in one of the blocking client.",
        figure("Session")?,
        figure("each in-flight slot")?,
        figure("each inbound id")?,
        deepest("session:"),
        deepest("blocking:"),
    ));
    Ok(lines.join("\n"))
}

fn with_section(readme: &str, section: &str) -> Result<String> {
    let (before, rest) = readme
        .split_once(BEGIN)
        .ok_or("the README has no place for the table")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("the README has no end of the table")?;
    Ok(format!("{before}{BEGIN}\n\n{section}\n\n{END}{after}"))
}

fn check_growth(kept: &str, lines: &[String]) -> Result<()> {
    let kept = figures(kept.lines());
    let now = figures(lines.iter().map(String::as_str));
    if !kept.keys().eq(now.keys()) {
        return Err("the rows differ from table.md: .ci/size --write".into());
    }
    let pairs = || kept.iter().zip(now.values());
    let mut has_grown = false;
    for ((name, kept), now) in
        pairs().filter(|((_, kept), now)| **now * 100 > **kept * (100 + TOLERANCE))
    {
        eprintln!("grown: {name}: {kept} -> {now}");
        has_grown = true;
    }
    if has_grown {
        return Err("if this growth is intended: .ci/size --write".into());
    }
    let shrunk = pairs()
        .filter(|((_, kept), now)| **now * (100 + TOLERANCE) < **kept * 100)
        .count();
    if shrunk > 0 {
        println!("{shrunk} figures are smaller than in table.md: .ci/size --write writes them");
    }
    Ok(())
}

fn run() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|it| it == name);
    let folder = arguments
        .last()
        .ok_or("usage: measure [--write] [--paths] TARGET_DIR")?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (table, readme) = (here.join("../table.md"), here.join("../../../README.md"));
    let lines = whole_table(&Programs(folder.into()), has("--paths"))?;
    println!("{}", lines.join("\n"));
    if has("--write") {
        fs::write(&table, lines.join("\n") + "\n")?;
    } else {
        check_growth(&fs::read_to_string(&table)?, &lines)?;
    }
    let text = fs::read_to_string(&readme)?;
    let new = with_section(&text, &readme_section(&fs::read_to_string(&table)?)?)?;
    if has("--write") {
        fs::write(&readme, new)?;
    } else if new != text {
        return Err("the figures in the README differ from the table: .ci/size --write".into());
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

//! The algorithms that the keywords choose from, and what they chose.

use crate::algorithms::{AlgorithmList, Names};

use super::value::{Arguments, Printer, Value};

/// Algorithms in order of preference: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlgorithmNames {
    /// Their names.
    pub names: Vec<String>,
    /// Whether the user set the order. If not, host key algorithms whose keys are known are asked for first.
    pub ordered: bool,
}

impl AlgorithmNames {
    /// What is used when the keyword is not given.
    pub(super) fn default_of(names: &Names<'_>) -> Self {
        AlgorithmNames { names: names.default.iter().map(|n| (*n).to_owned()).collect(), ordered: false }
    }

    /// Reads an argument; beside it come the names that have no effect here.
    pub(super) fn read(text: &str, names: &Names<'_>) -> Result<(Self, Vec<String>), String> {
        let (list, without_effect) = AlgorithmList::parse(text, names).map_err(|e| e.to_string())?;
        let ordered = !text.starts_with(['+', '-']);
        let names = list.resolve(names).map_err(|e| e.to_string())?;
        Ok((AlgorithmNames { names, ordered }, without_effect))
    }
}

impl Value for AlgorithmNames {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let text = args.text()?;
        let (chosen, without_effect) = AlgorithmNames::read(&text, args.algorithms.of_keyword(args.keyword))?;
        if !without_effect.is_empty() && !text.starts_with('-') {
            args.remarks.push(format!("not implemented here and left out: {}", without_effect.join(",")));
        }
        Ok(chosen)
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(self.names.join(","));
    }
}

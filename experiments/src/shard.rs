//! The part of a job that this process does: from `--shard`, or from the environment variables of the job scheduler.

use std::fmt::{self, Display};
use std::ops::Range;
use std::str::FromStr;

use crate::trouble::{Result, Trouble};

/// Part `index` of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    index: u64,
    count: u64,
}

/// Variables of the processes of one job: the rank, from 0, and the number. Open MPI, MPICH and related ones, a step of Slurm.
const RANKS: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    // Only `srun` sets the number of tasks of a step. A batch script without it is one process, for any SLURM_NTASKS.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
];

/// The variables of a job scheduler for an array of jobs.
struct Array {
    index: &'static str,
    /// `None` if the scheduler does not give it; then it is 1.
    first: Option<&'static str>,
    last: &'static str,
    stride: &'static str,
    /// The number of jobs, if the scheduler allows lists with gaps.
    count: Option<&'static str>,
    /// Whether 0 is a valid index. If not, it means a job without an array.
    from_zero: bool,
}

/// Slurm, Grid Engine, LSF.
const ARRAYS: [Array; 3] = [
    Array {
        index: "SLURM_ARRAY_TASK_ID",
        first: Some("SLURM_ARRAY_TASK_MIN"),
        last: "SLURM_ARRAY_TASK_MAX",
        stride: "SLURM_ARRAY_TASK_STEP",
        count: Some("SLURM_ARRAY_TASK_COUNT"),
        from_zero: true,
    },
    Array {
        index: "SGE_TASK_ID",
        first: Some("SGE_TASK_FIRST"),
        last: "SGE_TASK_LAST",
        stride: "SGE_TASK_STEPSIZE",
        count: None,
        from_zero: false,
    },
    Array {
        index: "LSB_JOBINDEX",
        first: None,
        last: "LSB_JOBINDEX_END",
        stride: "LSB_JOBINDEX_STEP",
        count: None,
        from_zero: false,
    },
];

/// Array indices of schedulers that do not give the number of jobs.
const UNCOUNTED: [&str; 2] = ["PBS_ARRAY_INDEX", "PBS_ARRAYID"];

impl Shard {
    /// The whole job.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Part `index` of `count`; `Err` unless index < count.
    pub fn new(index: u64, count: u64) -> Result<Self> {
        if index < count {
            return Ok(Self { index, count });
        }
        let parts = match count {
            0 => "the number of parts must be at least 1".to_owned(),
            count => format!("the {count} parts are 0/{count} to {}/{count}", count - 1),
        };
        Err(Trouble::Shard(format!("shard {index}/{count} does not exist: {parts}; shards count from 0")))
    }

    /// The part of this process: the given part, or else this job's place in its array, divided among the ranks of the job. Array and
    /// ranks come from the environment. Without any of them, the part is the whole job.
    pub fn of_this_process(given: Option<Self>, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let number =
            |name: &str| match variable(name).filter(|text| !text.is_empty() && text != "undefined") {
                None => Ok(None),
                Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| {
                    Trouble::Shard(format!("{name} is {text:?}, not a number; unset it or pass --shard i/n"))
                }),
            };
        let array = match given {
            Some(given) => given,
            None => Self::of_array(number)?,
        };
        let mut rank = Self::WHOLE;
        for (index, count) in RANKS {
            if let (Some(index), Some(count)) = (number(index)?, number(count)?) {
                rank = Self::new(index, count)?;
                break;
            }
        }
        Self::new(array.index * rank.count + rank.index, array.count * rank.count)
    }

    fn of_array(number: impl Fn(&str) -> Result<Option<u64>>) -> Result<Self> {
        for array in ARRAYS {
            let Some(index) = number(array.index)?.filter(|index| *index > 0 || array.from_zero) else { continue };
            let first = array.first.map_or(Ok(Some(1)), &number)?;
            let (Some(first), Some(last)) = (first, number(array.last)?) else { continue };
            let stride = number(array.stride)?.unwrap_or(1).max(1);
            if !(first..=last).contains(&index) {
                return Err(Trouble::Shard(format!(
                    "array index {index} is not in {first}..={last}; pass --shard i/n"
                )));
            }
            let count = (last - first) / stride + 1;
            if let Some(found) = array.count.map_or(Ok(None), &number)?
                && found != count
            {
                return Err(Trouble::Shard(format!(
                    "the array has {found} jobs, with gaps between {first} and {last}; pass --shard i/n"
                )));
            }
            return Self::new((index - first) / stride, count);
        }
        for name in UNCOUNTED {
            if number(name)?.is_some() {
                return Err(Trouble::Shard(format!(
                    "{name} is set, but PBS does not say how many jobs its array has; pass --shard ${name}/n, counted from 0"
                )));
            }
        }
        Ok(Self::WHOLE)
    }

    /// This part's share of `things` items. The shares are contiguous, cover all items, and differ in size by at most one.
    #[must_use]
    pub fn share(self, things: u64) -> Range<u64> {
        let bound = |index: u64| (u128::from(things) * u128::from(index) / u128::from(self.count)) as u64;
        bound(self.index)..bound(self.index + 1)
    }
}

impl FromStr for Shard {
    type Err = Trouble;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match numbers {
            Some((index, count)) => Self::new(index, count),
            None => Err(Trouble::Shard(format!("{text:?} is not of the form i/n, such as 0/4"))),
        }
    }
}

impl Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<String> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Shard::of_this_process(None, find).map(|shard| shard.to_string())
    }

    #[test]
    fn job_schedulers_give_the_part() {
        assert_eq!(from(&[]).unwrap(), "0/1");
        assert_eq!(from(&[("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")]).unwrap(), "1/2");
        assert_eq!(from(&[("PMI_RANK", "3"), ("PMI_SIZE", "4")]).unwrap(), "3/4");
        assert_eq!(from(&[("SLURM_PROCID", "3"), ("SLURM_STEP_NUM_TASKS", "4")]).unwrap(), "3/4");
        // A batch script is one process.
        assert_eq!(from(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]).unwrap(), "0/1");
        let array = |id| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", "2"),
                ("SLURM_ARRAY_TASK_MAX", "8"),
                ("SLURM_ARRAY_TASK_STEP", "2"),
            ]
        };
        assert_eq!(from(&array("2")).unwrap(), "0/4");
        assert_eq!(from(&array("8")).unwrap(), "3/4");
        let both = [&array("4")[..], &[("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")]].concat();
        assert_eq!(from(&both).unwrap(), "3/8");
        // --shard stands for the array's part, and the ranks share it.
        let rank = |name: &str| both.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let given = Some(Shard::new(2, 5).unwrap());
        assert_eq!(Shard::of_this_process(given, rank).unwrap().to_string(), "5/10");
        assert_eq!(from(&[("SGE_TASK_ID", "undefined")]).unwrap(), "0/1");
        assert_eq!(from(&[("SGE_TASK_ID", "3"), ("SGE_TASK_FIRST", "1"), ("SGE_TASK_LAST", "3")]).unwrap(), "2/3");
        assert_eq!(from(&[("LSB_JOBINDEX", "0"), ("LSB_JOBINDEX_END", "0")]).unwrap(), "0/1");
        assert_eq!(from(&[("LSB_JOBINDEX", "5"), ("LSB_JOBINDEX_END", "5")]).unwrap(), "4/5");
    }

    #[test]
    fn what_makes_no_sense_is_a_sentence() {
        assert!(from(&[("PBS_ARRAY_INDEX", "3")]).unwrap_err().to_string().contains("--shard $PBS_ARRAY_INDEX/n"));
        let gaps = [
            ("SLURM_ARRAY_TASK_ID", "3"),
            ("SLURM_ARRAY_TASK_MIN", "3"),
            ("SLURM_ARRAY_TASK_MAX", "7"),
            ("SLURM_ARRAY_TASK_COUNT", "2"),
        ];
        assert!(from(&gaps).unwrap_err().to_string().contains("2 jobs, with gaps between 3 and 7"));
        assert!(from(&[("PMI_RANK", "x"), ("PMI_SIZE", "2")]).unwrap_err().to_string().contains("PMI_RANK"));
        assert!(from(&[("PMI_RANK", "2"), ("PMI_SIZE", "2")]).unwrap_err().to_string().contains("0/2 to 1/2"));
        for text in ["2/2", "0/0", "1", "a/b", "-1/2", "1/2/3", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_cover_all_and_differ_by_one() {
        for (things, count) in [(10, 3), (2, 5), (0, 2), (u64::MAX, 7)] {
            let mut end = 0;
            for index in 0..count {
                let share = Shard::new(index, count).unwrap().share(things);
                assert_eq!(share.start, end);
                assert!((share.end - share.start).abs_diff(things / count) <= 1);
                end = share.end;
            }
            assert_eq!(end, things);
        }
    }
}

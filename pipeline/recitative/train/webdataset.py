"""Shards as a pipeline of webdataset, for training loops of others.

    from recitative.train.webdataset import shard_dataset

    loader = webdataset.WebLoader(shard_dataset("data/train_shards", shuffle=1000), batch_size=None, num_workers=4)

Our own training reads shards by their index instead, in any order; see ``data.shards``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import webdataset

from recitative.audio.files import SUFFIXES, read_mixed, resample
from recitative.config import FeatureSettings
from recitative.data.manifests import group_members, read_facts, read_member
from recitative.data.shards import tars_of
from recitative.errors import DataError, Problem
from recitative.features.frontend import FeatureExtractor
from recitative.reading import opened

_SHUFFLED_SHARDS = 1000

Sample = dict[str, Any]


def shard_dataset(
    shards: str | Path | Sequence[str],
    *,
    features: FeatureSettings | None = None,
    sample_rate: int | None = None,
    shuffle: int = 0,
    batch_size: int | None = None,
    handler: Callable[[Exception], bool] = webdataset.reraise_exception,
) -> ShardDataset:
    """An iterable dataset, a pipeline of webdataset, whose samples are dictionaries:

        __key__      name in the tar
        text         transcript; '' without one
        speaker      if the sample's JSON names one
        utt_id, ...  what the JSON says
        audio        (S,) float32 in [-1, 1]
        sample_rate  in Hz
        features     (T, C) float32, in place of ``audio``, if ``features`` are given

    shards:      a folder of tars, or what webdataset takes: URLs, or a pattern such as 'train-{000000..000099}.tar'
    sample_rate: to which audio is resampled; None = that of the features, or of each recording
    shuffle:     samples in the buffer from which the next is drawn; 0 = as stored. The order of shards is drawn too. It
                 is another in every epoch, and depends on ``torch.manual_seed``
    handler:     as in webdataset, is called with the error of a sample that cannot be used; true leaves the sample out
    batch_size:  samples per batch: ``audio`` (N, S) or ``features`` (N, T, C) padded with zeros, their ``lengths`` (N,)
                 int64, and lists of the rest

    Names in tars on this machine may have dots, and members may stand in any order, as for our own training. Tars that
    come by URLs are grouped by webdataset: names end at the first dot, and members of a sample follow each other.

    Workers and ranks of a distributed run share the shards. Raises DataError for a folder without tars, and, while it
    is read, for a sample without a recording or with a damaged one.
    """
    urls: Any = shards
    if isinstance(shards, Path) or (isinstance(shards, str) and Path(shards).is_dir()):
        urls = [str(path) for path in tars_of(Path(shards))]
        if not urls:
            raise DataError(str(shards), "has no tars", "a folder of shards", "write them with 'recitative shards'")
    stages = [webdataset.SimpleShardList(urls), webdataset.split_by_node, webdataset.split_by_worker]
    stages += [_Shuffled(_SHUFFLED_SHARDS)] if shuffle else []
    stages += [partial(_samples, handler=handler)]
    stages += [_Shuffled(shuffle)] if shuffle else []
    stages += [webdataset.map(partial(_decoded, features=features, sample_rate=sample_rate), handler=handler)]
    stages += [webdataset.batched(batch_size, collation_fn=_collated)] if batch_size else []
    return ShardDataset(*stages)


class ShardDataset(webdataset.DataPipeline, webdataset.FluidInterface):  # type: ignore[misc]
    """A pipeline that may go on: ``dataset.map(...)``, ``dataset.with_epoch(...)``."""


class _Shuffled:
    """A stage that draws from a buffer of ``size``, in every epoch anew."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        draw = random.Random(int(torch.randint(1 << 62, ())))  # torch's numbers are others in each epoch and worker
        shuffled: Iterator[Any] = iter(webdataset.shuffle(self._size, rng=draw)(iter(items)))
        return shuffled


def _samples(shards: Iterable[Sample], handler: Callable[[Exception], bool]) -> Iterator[Sample]:
    """The members of each sample, by the suffix of their names, with __key__ and __url__."""
    for shard in shards:
        path = Path(shard["url"])
        try:
            if not path.is_file():
                yield from webdataset.tarfile_samples([shard], handler=handler)
                continue
            with opened(path, "a tar") as file:
                found = group_members(path, file)
                problems = [*found.problems, *(_no_recording(f"{path}: {name}") for name in found.unused_texts)]
                for problem in problems:
                    handler(DataError.collect([problem]))
                for one in found.samples:
                    suffix = PurePosixPath(one.recording.name).suffix.lower()
                    members = {suffix: read_member(file, one.recording), **one.read_others(file)}
                    named = {name.removeprefix("."): content for name, content in members.items()}
                    yield {"__key__": one.name, "__url__": str(path), **named}
        except DataError as error:
            if not handler(error):
                return


def _decoded(sample: Sample, features: FeatureSettings | None, sample_rate: int | None) -> Sample:
    where = f"{sample.get('__url__', 'shards')}: {sample['__key__']}"
    members = {PurePosixPath(f"x.{name}").suffix.lower(): one for name, one in sample.items() if name[:2] != "__"}
    facts, text, speaker = read_facts(members, where)
    made: Sample = {"__key__": sample["__key__"], **facts, "text": text or ""}
    if speaker is not None:
        made["speaker"] = speaker
    samples, rate = _audio(members, where)
    wanted = features.sample_rate if features else sample_rate or rate
    if wanted != rate:
        samples = resample(samples, rate, wanted)
    made |= {"sample_rate": wanted, "num_samples": len(samples)}
    if features:
        return made | {"features": torch.from_numpy(FeatureExtractor(features).compute(samples))}
    return made | {"audio": torch.from_numpy(samples)}


def _audio(members: Mapping[str, bytes], where: str) -> tuple[Any, int]:
    """The samples (S,) and the rate of a sample's recording; several channels are averaged, see ``read_mixed``."""
    for suffix, content in members.items():
        if suffix in SUFFIXES:
            try:
                return read_mixed(content)
            except DataError as error:
                problem = error.problems[0]
                raise DataError(where, problem.found, problem.allowed, problem.remedy) from None
    raise DataError.collect([_no_recording(where)])


def _no_recording(where: str) -> Problem:
    return Problem(where, "has no recording", "a member such as NAME.flac", "")


def _collated(samples: Sequence[Sample]) -> Sample:
    batch: Sample = {}
    for name in dict.fromkeys(name for sample in samples for name in sample):
        values = [sample.get(name) for sample in samples]
        if name in ("audio", "features"):
            batch["lengths"] = torch.tensor([len(value) for value in values if value is not None])
            batch[name] = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)  # type: ignore[arg-type]
        else:
            batch[name] = values
    return batch

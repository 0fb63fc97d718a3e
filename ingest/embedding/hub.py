"""A model's files from the Hugging Face hub: from its local cache, and only what is missing there from the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import OPEN_CLIP_CONFIG, hash_file

_REACH_S = 10.0
_SHA256 = re.compile("[0-9a-f]{64}")  # the etag of a file that the hub keeps in git-lfs or Xet, as model weights are
_FIX = "connect once, or set HF_HOME to a cache that has it, or pass --model FOLDER with a downloaded checkpoint"
_SAMPLE = Path("data", "models", "sample-clip")
"""The sample model, in a checkout of ingest."""


class HubRepository:
    """The files of one model on the hub at one revision: a commit, a branch or a tag; None for the main branch."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.name = name
        self._revision = revision
        self._reached: bool | None = None  # not tried yet

    @property
    def fix(self) -> str:
        """What to do about a damaged file."""
        # In models--…/snapshots/<commit>, a link to models--…/blobs.
        config = self.cached("config.json") or self.cached(OPEN_CLIP_CONFIG)
        return f"delete {config.parents[2] if config else 'it'} and run again"

    def cached(self, file: str) -> Path | None:
        """Return a file that is in the local cache, or None."""
        found = self._look_up(file)
        return Path(found) if isinstance(found, str) else None

    def get(self, file: str) -> Path | None:
        """Return a file, fetched if the cache lacks it, or None if the repository has none of that name.

        Raises ModelError if the hub cannot be reached or refuses.
        """
        found = self._look_up(file)
        if found is not None:  # a path, or the cache's note that the hub does not have this file
            return Path(found) if isinstance(found, str) else None
        from huggingface_hub import errors, hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        self.reach(file)
        try:
            return Path(hf_hub_download(self.name, file, revision=self._revision))
        except errors.GatedRepoError as error:
            raise ModelError(f"{self.name}: its owner requires consent; give it on the hub and set HF_TOKEN") from error
        except errors.RevisionNotFoundError as error:
            raise ModelError(f"{self.name}: no revision {self._revision!r} on the hub; see --model-revision") from error
        except errors.RepositoryNotFoundError as error:
            raise ModelError(f"{self.name}: not on the hub, or private; check the spelling or set HF_TOKEN") from error
        except errors.LocalEntryNotFoundError as error:
            raise self._unreachable(file) from error
        except errors.EntryNotFoundError:
            return None
        except Exception as error:  # httpx's and requests' errors, a full disk, a cache that cannot be written
            said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ModelError(f"{self.name}: its {file} cannot be fetched from the hub ({said}); run again") from error

    def has(self, file: str) -> bool:
        """Return whether the repository has a file, without fetching it; raises ModelError if the hub does not say."""
        found = self._look_up(file)
        return self._ask(file) is not None if found is None else isinstance(found, str)

    def sha256(self, file: str) -> str:
        """Return the SHA-256 of a file, in hex: from the cache, where a blob's name is its hash, or from the hub.

        A small file, of which the hub keeps no SHA-256, is fetched. Raises ModelError if there is none.
        """
        if (path := self.cached(file)) is not None:
            blob = path.resolve()
            return blob.name if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name) else hash_file(blob)
        etag = self._ask(file)
        if etag is not None and _SHA256.fullmatch(etag):
            return etag
        if (path := self.get(file)) is None:
            raise ModelError(f"{self.name}: its {file} is missing; {self.fix}")
        return hash_file(path)

    def _ask(self, file: str) -> str | None:
        """Return the hub's mark of a file's content, or None if it does not have the file.

        Raises ModelError if the hub cannot be reached or refuses.
        """
        from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

        self.reach(file)
        try:
            return get_hf_file_metadata(hf_hub_url(self.name, file, revision=self._revision)).etag or ""
        except errors.EntryNotFoundError:
            return None
        except Exception as error:  # the errors of `get`, which names them, and of the network
            said = type(error).__name__
            raise ModelError(f"{self.name}: the hub does not say what its {file} is ({said}); run again") from error

    def reach(self, file: str) -> None:
        """Check once that the hub can be reached, because its own client retries for half a minute and prints each try.

        Raises ModelError, which names the needed `file`, if it cannot.
        """
        import requests
        from huggingface_hub import constants

        if self._reached:
            return
        if constants.HF_HUB_OFFLINE or self._reached is False:
            raise self._unreachable(file)
        try:
            requests.head(constants.ENDPOINT, timeout=_REACH_S)
        except (OSError, ValueError) as error:  # ValueError for an HF_ENDPOINT that is not an address
            self._reached = False
            raise self._unreachable(file) from error
        self._reached = True

    def _look_up(self, file: str) -> Any:
        """Return a path, None if the cache does not know, or another object if it knows there is no such file."""
        try:
            from huggingface_hub import try_to_load_from_cache
            from huggingface_hub.errors import HFValidationError
        except ImportError as error:
            raise ModelError(
                f"{self.name}: huggingface_hub cannot be imported ({error}); pip install transformers"
            ) from error
        try:
            return try_to_load_from_cache(self.name, file, revision=self._revision)
        except HFValidationError as error:
            raise ModelError(
                f"{self.name}: neither a folder nor a hub id such as openai/clip-vit-base-patch32"
            ) from error

    def _unreachable(self, file: str) -> ModelError:
        what = "the model" if file in ("config.json", OPEN_CLIP_CONFIG) else f"its {file}"
        sample = f", or try the sample: --model {_SAMPLE.as_posix()}" if _SAMPLE.is_dir() else ""
        return ModelError(
            f"{self.name}: the hub cannot be reached and {what} is not in the local cache; {_FIX}{sample}"
        )

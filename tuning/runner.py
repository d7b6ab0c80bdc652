"""KerasTuner's loop over trials, each trained as `metasgcl train` does."""

import contextlib
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus

from metasgcl_tf.data.splitting import Split
from metasgcl_tf.models import SequentialRecommender
from metasgcl_tf.run_folder import MODEL
from metasgcl_tf.safe_loading import load_model
from metasgcl_tf.tuning.forgetting import forgetting_gradients
from metasgcl_tf.tuning.hypermodel import RecommenderHyperModel
from metasgcl_tf.tuning.leases import CALLS_BEFORE_LOST, LOST_AFTER, heard_of
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.trials import TRIALS, trial_file


class ReportEpochs(keras.callbacks.Callback):
    """Hands what an epoch reached to the oracle.

    Args:
        report: takes the metrics and the number of the epoch.
    """

    def __init__(self, report: Callable[[dict[str, float], int], None]) -> None:
        super().__init__()
        self.report, self.started = report, time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Reports the epoch."""
        took = time.perf_counter() - self.started
        self.report({name: float(value) for name, value in (logs or {}).items()} | {"seconds": took}, epoch)


class TrialRunner(BaseTuner):
    """Asks an oracle for trials and runs them until there are no more; a chief only answers.

    Args:
        oracle: here, or a stand-in on a worker.
        folder: of the search.
        lost_after: seconds of silence after which a chief gives a trial to another worker.
    """

    def __init__(self, oracle: keras_tuner.Oracle, folder: Path, lost_after: float = LOST_AFTER) -> None:
        super().__init__(oracle, directory=str(folder), project_name=TRIALS)
        self.folder, self.call_every = folder / TRIALS, lost_after / CALLS_BEFORE_LOST
        self.search_made: Search | None = None
        self.split: Split | None = None
        self.show: Callable[[str], None] = lambda line: None
        self._told_to_wait = False
        if not self._is_worker() and oracle.state_file.is_file():
            oracle.reload()

    def save(self) -> None:
        """The oracle has what there is to save."""
        if not self._is_worker():
            self.oracle.save()

    def pre_create_trial(self) -> None:
        """Does not ask again at once where the last answer was to wait."""
        if self._told_to_wait:
            time.sleep(1)
        self._told_to_wait = True

    def on_trial_begin(self, trial: Trial) -> None:
        """There was a trial to run."""
        self._told_to_wait = False

    def _try_run_and_update_trial(self, trial: Trial, *_: Any, **__: Any) -> None:
        """A trial that fails says why in one line; what is not its fault ends the search, to be resumed."""
        try:
            self.run_trial(trial)
        except OSError:
            raise
        except Exception as error:
            if type(error).__name__ == "_InactiveRpcError":  # the chief is gone
                raise
            trial.status = TrialStatus.FAILED
            trial.message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        else:
            trial.status = TrialStatus.COMPLETED

    @forgetting_gradients()  # or a search would keep the traced functions of every model it tried
    def run_trial(self, trial: Trial, *_: Any, **__: Any) -> None:
        """Trains one trial; the oracle gets every epoch."""
        keras.backend.clear_session()
        gc.collect()
        values, name = trial.hyperparameters.values, f"trial_{trial.trial_id}"
        hypermodel = RecommenderHyperModel(self.search_made, self.split, int(trial.trial_id))
        model, first_epoch = self.begun(hypermodel, trial)

        def report(metrics: dict[str, float], epoch: int) -> None:
            self.oracle.update_trial(trial.trial_id, metrics, step=epoch)
            self.show(f"{name}: epoch {epoch + 1}, {metrics[self.search_made.objective]:.4f}")

        self.show(name)
        worker = self._is_worker()
        with heard_of(self.oracle, trial.trial_id, self.call_every) if worker else contextlib.nullcontext():
            hypermodel.fit(
                trial.hyperparameters,
                model,
                [ReportEpochs(report)],
                first_epoch=first_epoch,
                epochs=values.get("tuner/epochs"),
            )
            if "tuner/epochs" in values:  # Hyperband may go on with it
                model.save(self.model_file(trial.trial_id))

    def begun(self, hypermodel: RecommenderHyperModel, trial: Trial) -> tuple[SequentialRecommender, int]:
        """A new model, or, in a later round of Hyperband, that of the round before and its epochs.

        A worker that does not have that one, because another machine trained it, trains the whole.
        """
        values = trial.hyperparameters.values
        before = values.get("tuner/trial_id")
        if before is not None and self.model_file(before).is_file():
            return load_model(self.model_file(before)), values["tuner/initial_epoch"]
        return hypermodel.build(trial.hyperparameters), 0

    def model_file(self, trial_id: str) -> Path:
        """Where Hyperband finds what a trial trained."""
        path = trial_file(self.folder, trial_id, MODEL)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

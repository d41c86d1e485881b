"""Fitting an experiment's PCA and training its model."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aejax.bars import bar
from aejax.data import loader
from aejax.errors import Interrupted, UserError
from aejax.evaluation import metrics
from aejax.evaluation.evaluate import Codec, bound
from aejax.listening import Preview
from aejax.models import autoencoder
from aejax.models.pca import PCA, ContextPCA
from aejax.models.vector_quantizer import RVQ, start_codebooks
from aejax.overlap import at_a_time
from aejax.prepare import Experiment
from aejax.representation import valid_frames
from aejax.training import (
    checkpoint,
    loop,
    metrics_log,
    pca_fit,
    population,
    state,
    validation,
)
from aejax.training.devices import free_memory
from aejax.training.step import TrainStep, make_train_step
from aejax.training.validation import make_eval_step


def fit_pca(experiment: Experiment, larger: pca_fit.Fit | None = None) -> pca_fit.Fit:
    """PCA of the training split, from noisy to clean sound where noise is to be taken away; an
    earlier fit of the same run is read instead.

    Args:
      experiment: of the run.
      larger: a fit of at least as many latents on the same blocks, which has this one in it.
    """
    path, latent_dim = experiment.workdir.path / "pca.npz", experiment.config.model.latent_dim
    if not path.exists() and larger is not None:
        pca_fit.save(path, larger._replace(pca=larger.pca.first(latent_dim)))
    if not path.exists():
        batches = experiment.batches("train")
        fitted = pca_fit.fit(
            bar(batches, desc="fitting PCA", unit="batch"),
            representation=experiment.representation,
            downsampling=experiment.downsampling,
            latent_dim=latent_dim,
            place=experiment.devices.place,
            hear=experiment.hear,
            held_out=experiment.batches("validation"),
        )
        pca_fit.save(path, fitted)
    fitted = pca_fit.load(
        path,
        downsampling=experiment.downsampling,
        bins=experiment.representation.bins,
        latent_dim=latent_dim,
    )
    if experiment.denoises and fitted.pca.analysis is None:
        raise UserError(
            f"{path} was fitted without noise, by an earlier aejax; delete it to fit anew"
        )
    return fitted


def fit_context(
    experiment: Experiment,
    model: autoencoder.Autoencoder,
    pca: PCA,
    same: ContextPCA | None = None,
) -> ContextPCA | None:
    """The best linear decoder of PCA's latents from as many of them as the model's decoder sees;
    None where it sees one at a time, or is to take noise away.
    ``same``: what was found for a run that differs in nothing that this depends on."""
    before, after = (int(min(steps, _FARTHEST)) for steps in model.decoder.reach)
    if before == after == 0 or experiment.denoises:
        return None
    path = experiment.workdir.path / "pca_context.npz"
    if not path.exists() and same is not None:
        pca_fit.save_context(path, same)
    if not path.exists():
        fitted = pca_fit.fit_context(
            bar(experiment.batches("train"), desc="fitting PCA in context", unit="batch"),
            experiment.batches("validation"),
            pca,
            representation=experiment.representation,
            before=before,
            after=after,
            place=experiment.devices.place,
        )
        pca_fit.save_context(path, fitted)
    return pca_fit.load_context(path, pca)


# Latent frames on either side that the linear decoder in context sees at most: those farther away
# add less than they cost to find, and some models see all there are.
_FARTHEST = 4


class Trainee(NamedTuple):
    """What is trained, beside others or alone.

    Attributes:
      experiment: what to train on.
      model: of the experiment.
      fitted: on the training split.
      pca_rmse: of PCA on the validation split, to be logged beside the model's.
    """

    experiment: Experiment
    model: autoencoder.Autoencoder
    fitted: pca_fit.Fit
    pca_rmse: float


class Trained(NamedTuple):
    """What became of a trainee.

    Attributes:
      model: the largest of those trained together, which all share.
      best: variables by validation of each kind, by name, in that model's shapes.
    """

    model: autoencoder.Autoencoder
    best: Mapping[str, checkpoint.Best]


def train(trainees: Sequence[Trainee]) -> Iterator[Trained | UserError]:
    """Trains to the last step, from the newest checkpoint that all have, as many at a time as there
    is room for; the next ones once what came of the last is taken.

    Args:
      trainees: whose experiments differ in nothing that is compiled into the step, or read, but the
        number of latents (see `aejax.training.population`); all with a checkpoint of one step, or
        none of them with any.

    Yields:
      Of each what it became, or the error that ended it.
    """
    # The one of most latents lends the others its shapes.
    widest = max(trainees, key=lambda trainee: trainee.experiment.config.model.latent_dim)
    experiment, options = widest.experiment, widest.experiment.config
    tx = state.optimiser(options.train, pca_start=options.model.pca_start)
    shapes = _shapes(widest)
    step = make_eval_step(
        experiment.representation,
        widest.model,
        experiment.objective,
        downsampling=experiment.downsampling,
        augmentation=experiment.augmentation,
    )
    eval_step = jax.jit(step)
    found, rest = None, list(trainees)
    while rest:
        found = compile_step(experiment, widest.model, tx, shapes, len(rest), found)
        now, rest = rest[: found.room], rest[found.room :]
        ended = _train(now, widest, shapes, eval_step, found)
        while ended:
            yield ended.pop(0)


def _train(
    trainees: Sequence[Trainee],
    widest: Trainee,
    shapes: checkpoint.Snapshot,
    eval_step: validation.EvalStep,
    found: "Compiled",
) -> list[Trained | UserError]:
    """Trains those that there is room for, in the shapes of the widest."""
    experiment, options = widest.experiment, widest.experiment.config.train
    after = common_step([one.experiment for one in trainees])
    with contextlib.ExitStack() as stack:
        members: list[loop.Member] = []
        snapshots: list[checkpoint.Snapshot] = []
        for one in trainees:
            config, path = one.experiment.config, one.experiment.workdir.path
            like = _shapes(one)
            snapshots.append(population.grown(_first(one, after, like), shapes))
            checkpoints = stack.enter_context(checkpoint.opened(path / "checkpoints", after))
            log = stack.enter_context(
                metrics_log.MetricsLog(path, after=int(snapshots[-1].state.step) or -1)
            )
            show = _shown_to(log, one.experiment, widest.model)
            members.append(
                loop.Member(
                    validate=_validation(one, widest.model, eval_step, show),
                    save=_saving(checkpoints, like),
                    log=_with_learning_rate(log, config.train),
                )
            )
        first = int(snapshots[0].state.step)
        if first:
            print(f"going on from step {first}")
        training = stack.enter_context(
            bar(total=options.steps, initial=first, desc="training", unit="step")
        )

        def progress(_: int, scalars: dict[str, float]) -> None:
            training.set_postfix(loss=f"{scalars['loss/total']:.4f}", refresh=False)
            training.update()

        ended = loop.train(
            members,
            snapshots,
            found.population,
            train_batches(experiment, first),
            schedule=loop.Schedule(options.steps, options.validate_every, options.log_every),
            place=experiment.place,
            progress=progress,
            name_clips=lambda clips: ", ".join(
                sorted({experiment.corpus.clips.name(clip) for clip in clips.tolist()})
            ),
        )
    return [one if isinstance(one, UserError) else Trained(widest.model, one.best) for one in ended]


def _shapes(trainee: Trainee) -> checkpoint.Snapshot:
    """Of a trainee's snapshots; they take no memory."""
    experiment = trainee.experiment
    return loop.abstract_snapshot(experiment.config, trainee.model, experiment.objective.weights)


def _first(trainee: Trainee, after: int | None, like: checkpoint.Snapshot) -> checkpoint.Snapshot:
    """The checkpoint of that step; where there is none, the snapshot before the first."""
    experiment = trainee.experiment
    if after is not None:
        directory = experiment.workdir.path / "checkpoints"
        return checkpoint.read(directory, after, like, experiment.devices.copied)
    config = experiment.config
    tx = state.optimiser(config.train, pca_start=config.model.pca_start)
    return experiment.devices.copy(loop.first_snapshot(initial_state(trainee, tx)))


def common_step(experiments: Sequence[Experiment]) -> int | None:
    """The newest step that all have a checkpoint of; None where there is none."""
    saved = [checkpoint.steps(one.workdir.path / "checkpoints") for one in experiments]
    return max(set.intersection(*saved), default=None)


# A run of many validations shows what it sounds like at so many of them.
_MOST_SHOWN = 20


def _shown_to(
    log: metrics_log.MetricsLog, experiment: Experiment, model: autoencoder.Autoencoder
) -> Callable[[state.TrainState], None]:
    """Hands TensorBoard what there is to hear and see in the report, as it is by now."""
    try:
        preview = Preview(experiment)
    except Interrupted:
        raise
    except UserError:  # there is nothing left to hear; training goes on without
        return lambda _: None
    options, rate = experiment.config.train, experiment.corpus.sample_rate
    validations = -(-options.steps // options.validate_every)
    every = -(-validations // _MOST_SHOWN) * options.validate_every

    def show(train_state: state.TrainState) -> None:
        step = int(train_state.step)
        if step != options.steps and step % max(every, 1):
            return
        encode, decode = bound(autoencoder.encode, model), bound(autoencoder.decode, model)
        decode_as = bound(autoencoder.decode_as, model) if experiment.speakers else None
        name, variables = experiment.config.name, train_state.variables
        codec = Codec(name, encode, decode, variables, None, decode_as=decode_as)
        for name, audio, picture in preview(codec):
            log.sound(f"heard/{name}", step, audio, rate)
            log.picture(f"original_and_heard/{name}", step, picture)

    return show


def _validation(
    trainee: Trainee,
    model: autoencoder.Autoencoder,
    eval_step: validation.EvalStep,
    show: Callable[[state.TrainState], None],
) -> Callable[[state.TrainState], tuple[dict[str, float], dict[str, float]]]:
    """What `loop.Member` wants, by a compiled step that it may share."""
    experiment, pca_rmse = trainee.experiment, trainee.pca_rmse
    config = experiment.config
    weights = validation.final_weights(experiment.objective, model)

    def validate(train_state: state.TrainState) -> tuple[dict[str, float], dict[str, float]]:
        scalars, losses = {"validation/pca_feature_rmse": pca_rmse}, {}
        for name, variables in train_state.candidates.items():
            found = validation.validate(
                eval_step,
                variables,
                experiment.batches("validation"),
                experiment.place,
                weights,
            )
            room = "validation" if name == "raw" else f"validation_{name}"
            scalars |= {f"{room}/loss": found.loss, f"{room}/feature_rmse": found.feature_rmse}
            if len(found.terms) > 1:
                scalars |= {f"{room}/loss/{term}": value for term, value in found.terms.items()}
            gain = metrics.gain_db(found.feature_rmse, pca_rmse)
            if gain is not None:
                scalars[f"{room}/gain_over_pca_db"] = gain
            losses[name] = found.loss
            if name == "raw" and int(train_state.step):
                own = found.first(config.model.latent_dim)
                sizes = model.bottleneck.codebook_sizes
                for line in validation.collapsed(own, config.model.bottleneck, sizes):
                    experiment.warn_once(line)
        show(train_state)
        return scalars, losses

    return validate


def _saving(
    checkpoints: checkpoint.Checkpoints, like: checkpoint.Snapshot
) -> Callable[[checkpoint.Snapshot], None]:
    """Saves snapshots as they would be if the member were alone."""
    return lambda snapshot: checkpoints.save(population.cut(snapshot, like))


def _with_learning_rate(log: loop.Log, config: ConfigDict) -> loop.Log:
    """The log, with the learning rate beside what a training step gives."""
    rate = state.learning_rate(config)

    def logged(step: int, scalars: dict[str, float]) -> None:
        if "loss/total" in scalars:
            update = (step - 1) // config.accumulate
            scalars = scalars | {"learning_rate": float(rate(update))}
        log(step, scalars)

    return logged


def initial_state(trainee: Trainee, tx: Any) -> state.TrainState:
    """The state before the first step: at PCA, if the config says so; codebooks by k-means."""
    experiment, model, fitted, _ = trainee
    config = experiment.config
    init_key, step_key, codebook_key = jax.random.split(jax.random.key(config.seed), 3)
    variables = autoencoder.init(model, init_key, config.model.downsampling)
    variables = autoencoder.standardise(variables, fitted.mean, fitted.scale)
    variables = autoencoder.limit(variables, fitted.pca.lowest, fitted.pca.highest)
    if config.model.pca_start:
        variables = autoencoder.start_at_pca(model, variables, fitted.pca)
    if "codebooks" in variables:
        latents = first_latents(experiment, model, variables)
        codebooks = start_codebooks(codebook_key, latents, model.bottleneck.codebook_sizes)
        variables = {**variables, "codebooks": {"bottleneck": codebooks}}
    weights = experiment.objective.weights
    return state.create(variables, tx, step_key, weights, ema=config.train.ema_decay > 0)


# Vectors that k-means sees for each entry of a codebook.
_VECTORS_PER_ENTRY = 20


def first_latents(
    experiment: Experiment, model: autoencoder.Autoencoder, variables: autoencoder.Variables
) -> jax.Array:
    """Latents of random training excerpts before anything is learnt, ``[count, latent_dim]``."""
    wanted = _VECTORS_PER_ENTRY * max(model.bottleneck.codebook_sizes)

    @jax.jit
    def encode(placed: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        features = experiment.representation.analyse(placed["audio"][:, : experiment.excerpt])
        mask = valid_frames(
            experiment.representation,
            jnp.minimum(placed["length"], experiment.excerpt),
            features.shape[1],
            experiment.downsampling,
        )
        latents = autoencoder.before_bottleneck(model, variables, features)
        return latents, mask[:, :: experiment.downsampling]

    found: list[np.ndarray] = []
    for batch in train_batches(experiment, 0):
        latents, mask = jax.device_get(encode(experiment.devices.place(batch)))
        found.append(latents[mask])
        if sum(len(part) for part in found) >= wanted:
            break
    return jnp.concatenate(found)[:wanted]


def train_batches(experiment: Experiment, start: int) -> Iterator[loader.Batch]:
    """Random training excerpts without end, from that step on."""
    config = experiment.config
    return loader.train_batches(
        experiment.corpus,
        excerpt=experiment.excerpt,
        batch_size=config.train.batch_size,
        seed=config.data.seed,
        start=start,
        drawing=loader.Drawing(
            experiment.augmentation.span(experiment.excerpt),
            equal=config.data.weighting == "equal",
            silence_db=config.data.silence_db,
            redraws=config.data.silence_redraws,
        ),
        noise=experiment.noise,
        workers=experiment.workers,
    )


class Compiled(NamedTuple):
    """A compiled step of a population.

    Attributes:
      population: takes the steps.
      room: members at a time.
    """

    population: population.Population
    room: int


# Of the memory that is free, for what else a run needs.
_USABLE = 0.8


def compile_step(
    experiment: Experiment,
    model: autoencoder.Autoencoder,
    tx: Any,
    snapshot: checkpoint.Snapshot,
    members: int,
    earlier: Compiled | None = None,
) -> Compiled:
    """Compiles the train step for as many members at a time as memory allows, and says so.

    Args:
      experiment, model, tx: of the widest member.
      snapshot: of it; shapes are enough.
      members: to be trained.
      earlier: what was compiled for more members; it is used again where that can be.
    """
    if earlier is not None and (members >= earlier.room or not side_by_side()):
        return earlier._replace(room=min(members, earlier.room))
    begin = time.perf_counter()
    step = make_step(experiment, model, tx)
    free, apiece = free_memory(), _snapshot_bytes(snapshot)
    room = wanted = members
    compiled = taken = None
    # All at once, fewer members are another program, which may take other than its share.
    while compiled is None or (room < wanted and side_by_side()):
        wanted = room
        at_once = wanted if wanted > 1 and side_by_side() else None
        compiled = _compiled(experiment, step, snapshot.state, at_once)
        taken = step_bytes(compiled)
        if free is not None and taken is not None:
            room = _room(free, taken, apiece, wanted)
    size = sum(x.size for x in jax.tree.leaves(snapshot.state.params))
    each = (
        ""
        if members == 1
        else f" each of {room} members, {'in turns' if at_once is None else 'all at once'}"
    )
    if room < members and free is not None:
        each += f" ({members - room} more come after them: {free / 1e6:,.0f} MB are free)"
    print(
        f"compiled the step in {time.perf_counter() - begin:.1f} s; {size:,} parameters{each}"
        f"{_shown(taken)}"
    )
    population_of = population.InTurns if at_once is None else population.AtOnce
    return Compiled(population_of(compiled), room)


def _snapshot_bytes(snapshot: checkpoint.Snapshot) -> int:
    """Of a member's state and of the best variables that it has had."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(snapshot))


def _room(free: int, taken: int, apiece: int, members: int) -> int:
    """Members at a time in free memory, of a step that takes so many bytes, for all of them where
    they take it at once, and so many more for each."""
    step = taken / members if side_by_side() else 0
    shared = 0 if side_by_side() else at_a_time() * taken
    return min(members, max(1, int((_USABLE * free - shared) / (step + apiece))))


def side_by_side() -> bool:
    """Whether members take their steps all at once, by ``vmap``, or in turns: a CPU is kept busy
    by one, and its convolutions of several sets of weights at once are slower."""
    return jax.default_backend() != "cpu"


def make_step(experiment: Experiment, model: autoencoder.Autoencoder, tx: Any) -> TrainStep:
    """The train step of an experiment, as a pure function."""
    return make_train_step(
        experiment.representation,
        _by_batch(model, experiment.config.train.accumulate),
        tx,
        experiment.objective,
        samples=experiment.excerpt,
        downsampling=experiment.downsampling,
        augmentation=experiment.augmentation,
        ema_decay=experiment.config.train.ema_decay,
    )


def _by_batch(model: autoencoder.Autoencoder, accumulate: int) -> autoencoder.Autoencoder:
    """The model with codebooks that move as far in so many batches, which are one update, as they
    would in one."""
    if not isinstance(model.bottleneck, RVQ):
        return model
    decay = model.bottleneck.decay ** (1 / accumulate)
    return model.clone(bottleneck=model.bottleneck.clone(decay=decay))


def _compiled(
    experiment: Experiment, step: TrainStep, given: state.TrainState, members: int | None
) -> jax.stages.Compiled:
    """The step, compiled for a state that is donated; for so many of them at once, if given."""
    devices = experiment.devices
    before = () if members is None else (members,)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((*before, *x.shape), x.dtype, sharding=devices.copied), given
    )
    if members is not None:
        step = population.at_once(step)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=devices.copied)
    return jitted.lower(shapes, experiment.place(_example(experiment))).compile()


def _example(experiment: Experiment) -> dict[str, np.ndarray]:
    """A batch of silence."""
    rows = experiment.config.train.batch_size
    span = experiment.augmentation.span(experiment.excerpt)
    audio = np.zeros((rows, span, *experiment.corpus.channel_shape), np.float32)
    example = {
        "audio": audio,
        "length": np.zeros(rows, np.int32),
        "place": np.zeros(rows, np.float32),
        "clip": np.zeros(rows, np.int32),
    }
    return example if experiment.noise is None else example | {"noise": audio}


def step_bytes(compiled: jax.stages.Compiled) -> int | None:
    """What a compiled step takes, its state and batch included, where the backend knows."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    return found.argument_size_in_bytes + found.temp_size_in_bytes


def _shown(taken: int | None) -> str:
    return "" if taken is None else f", {taken / 1e6:,.0f} MB"

"""search.py JOBS.jsonl WORKER WORKERS OUT DEADLINE_S: each job {"name","model","set":{},"seeds":[..]} -> lines in OUT."""
import os, sys, time, json
T0 = time.time()
os.environ["KERAS_BACKEND"] = "jax"
here = os.path.dirname(os.path.abspath(__file__))
import types
from unittest.mock import MagicMock
import keras, jax, jax.numpy as jnp, numpy as np
for name in ("tensorflow", "polars", "tensorflow.core", "tensorflow.core.protobuf"):
    sys.modules[name] = MagicMock(name=name)
sys.path.insert(0, os.environ.get("REPO", os.getcwd()))
# top-level folders install as subpackages; only what is needed here is imported
from metasgcl_tf.config import build_config
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.data import pipelines, windows as W
from metasgcl_tf.models import MODELS
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam
from metasgcl_tf import metrics
for name in ("tensorflow", "polars", "tensorflow.core", "tensorflow.core.protobuf"):
    sys.modules.pop(name)

stored = np.load(os.path.join(here, "log.npz"))
items_np, offsets, V = stored["item_index"].astype(np.int32), stored["offsets"], int(stored["num_items"])
log = types.SimpleNamespace(item_index=items_np, offsets=offsets, num_items=V, num_users=len(offsets) - 1,
    num_interactions=len(items_np), counts={})
split = leave_one_out(log)
LOGF = None
from metasgcl_tf.models import neural
_spec = np.load(os.path.join(here, "spec.npz"))
neural.spectral_vectors = lambda split, dim: np.array(_spec[f"d{dim}"])

def say(**what):
    line = json.dumps(what)
    with open(LOGF, "a") as f: f.write(line + "\n")
    print(line, flush=True)

def adam(t, rate, steps):
    reg = {"weight_decay": t.weight_decay or None, "global_clipnorm": t.clip_norm}
    if not t.cosine_decay: return RowWiseAdam(rate, **reg)
    return RowWiseAdam(keras.optimizers.schedules.CosineDecay(rate, steps * t.epochs, alpha=0.01), **reg)

def build(job, seed, steps, config):
    keras.utils.set_random_seed(seed)
    model = MODELS[config.training.model](V, **config.model_options)
    model.adapt(split)
    if config.training.cooccurrence_start:
        model.start_from_cooccurrence(split)
    t = config.training
    opt = adam(t, t.learning_rate, steps)
    if config.model_options.get("training") == "two_step":
        opt = PairOptimizer(opt, adam(t, t.meta_learning_rate, steps))
    model.compile(opt)
    return model

def run(job, deadline):
    t0 = time.time()
    sets = dict(job["set"]); ema = sets.pop("ema", None); mp = sets.pop("mixed", False)
    keras.config.set_dtype_policy("mixed_bfloat16" if mp else "float32")
    config = build_config({"data": "ml-1m", "model": job["model"]}, sets)
    t, seeds = config.training, job["seeds"]
    R = len(seeds)
    prefix = t.every_prefix
    L = config.model_options["max_length"]
    win = W.prefix_windows(split, L) if prefix else W.all_position_windows(split, L)
    N, B = len(win.begin), t.batch_size
    steps = -(-N // B)
    weight = steps / win.num_targets
    models = [build(job, s, steps, config) for s in seeds]
    model = models[-1]
    groups = lambda m: [m.trainable_variables, m.non_trainable_variables, m.optimizer.variables, m.metrics_variables]
    values = [[[np.asarray(v.value) for v in g] for g in groups(m)] for m in models]
    state = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *values)
    state = tuple(list(g) for g in state)
    items = jnp.asarray(np.concatenate([items_np, np.zeros(1, np.int32)]))
    begin, end, first = (jnp.asarray(x.astype(np.int32)) for x in (win.begin, win.end, win.first_target))
    user = jnp.asarray(win.user.astype(np.int32))

    def batch(samples):
        none = samples < 0
        s = jnp.maximum(samples, 0)
        b, e, f = begin[s][:, None], end[s][:, None], first[s][:, None]
        pos = e - L + jnp.arange(L, dtype=jnp.int32)
        ids = jnp.where((pos >= b) & ~none[:, None], items[jnp.maximum(pos, 0)], 0)
        tpos = (pos[:, -1:] if prefix else pos) + win.ahead
        real = (tpos >= f) & ~none[:, None]
        targets = jnp.where(real, items[jnp.clip(tpos, 0, len(items_np))], 0)
        return {"item_ids": ids, "user_index": user[s]}, targets, jnp.where(real, np.float32(weight), 0.0)

    def one(state, samples):
        logs, new = model.train_step(state, batch(samples))
        return new
    rate = jnp.float32(ema or 0.0)
    def step(carry, samples):
        state, avg = carry
        new = jax.vmap(one)(state, samples)
        new = tuple(list(g) for g in new)
        if ema: avg = jax.tree.map(lambda a, x: rate * a + (1 - rate) * x, avg, new[0])
        return (new, avg), None
    chunk = jax.jit(lambda carry, plan: jax.lax.scan(step, carry, plan)[0], donate_argnums=0)

    # evaluation on validation items
    E = split.evaluated
    tp = split.target_position("valid"); vb = split.train_begin[E]
    pos = tp[:, None] - L + np.arange(L)
    hist = np.where(pos >= vb[:, None], items_np[np.maximum(pos, 0)], 0).astype(np.int32)
    S = int((tp - vb).max())
    seen = np.zeros((len(E), S), np.int32)
    for i in range(len(E)):
        h = np.unique(items_np[vb[i]:tp[i]]); seen[i, :len(h)] = h
    U = 302  # 6040 = 20 * 302
    hist, seen = (jnp.asarray(x.reshape(len(E) // U, U, -1)) for x in (hist, seen))
    target = jnp.asarray(items_np[tp].reshape(-1, U))
    def ranks(trainable, non_trainable):
        pairs = [*zip(model.trainable_variables, trainable), *zip(model.non_trainable_variables, non_trainable)]
        def block(x):
            with keras.StatelessScope(state_mapping=pairs):
                scores = model.score_items({"item_ids": x[0], "user_index": jnp.zeros(U, jnp.int32)})
                return metrics.target_ranks(scores, x[2], x[1])
        m, k = jax.lax.map(block, (hist, seen, target))
        g = lambda r: (jnp.mean(jnp.where(r <= 10, 1 / jnp.log2(r + 1.0), 0.0)), jnp.mean(r <= 10))
        return jnp.array([*g(m), *g(k)])
    evaluate = jax.jit(lambda tr, nt: jax.lax.map(lambda x: ranks(*x), (tr, nt)))

    CH = min(steps, job.get("chunk", 512))
    avg = jax.tree.map(jnp.array, state[0]) if ema else [jnp.zeros((R,))]
    carry, best = (state, avg), None
    rngs = [np.random.default_rng([s, 77]) for s in seeds]
    hist_m, raw = [], []
    every = job.get("eval_every", 1)
    for epoch in range(t.epochs):
        plan = np.full((R, steps * B), -1, np.int32)
        for r in range(R): plan[r, :N] = rngs[r].permutation(N)
        plan = plan.reshape(R, steps, B).transpose(1, 0, 2)
        full = -(-steps // CH) * CH
        # whole chunks; what is left over runs as a shorter scan (one more compilation at most)
        for c in range(0, min(steps, job.get("max_steps", steps)), CH):
            carry = chunk(carry, jnp.asarray(plan[c:c + CH]))
        if (epoch + 1) % every and epoch + 1 != t.epochs: continue
        m = np.asarray(evaluate(carry[0][0], carry[0][1]))
        raw.append(m)
        hist_m.append([epoch + 1, *[round(float(x), 5) for x in m.mean(0)]])
        if ema:
            a = np.asarray(evaluate(carry[1], carry[0][1])); hist_m[-1] += [round(float(x), 5) for x in a.mean(0)]
        if len(hist_m) == 1 or time.time() - T0 > deadline or (len(hist_m) % job.get("say_every", 5) == 0):
            say(name=job["name"], at=hist_m[-1], s=round(time.time() - t0, 1))
        if time.time() - T0 > deadline: break
    b = max(hist_m, key=lambda h: h[1])
    per_seed = [[round(float(y), 5) for y in x] for x in m]
    say(done=job["name"], best=b, last=hist_m[-1], seeds=per_seed, steps=steps, s=round(time.time() - t0, 1), hist=[[h[0], h[1], h[3]] for h in hist_m], by_seed=[[[round(float(y), 4) for y in (x[0], x[2])] for x in e] for e in raw], set=sets, model=job["model"])

if __name__ == "__main__":
    jobs_file, worker, out, deadline = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    LOGF = os.path.join(out, f"w{worker}.jsonl")
    taken = os.path.join(os.environ.get("TAKEN", "/tmp"), "taken"); os.makedirs(taken, exist_ok=True)
    say(start=round(time.time() - T0, 1), device=str(jax.devices()[0]))
    for i, line in enumerate(open(jobs_file)):
        if not line.strip(): continue
        if time.time() - T0 > deadline: break
        try: os.close(os.open(f"{taken}/{i}", os.O_CREAT | os.O_EXCL))
        except FileExistsError: continue
        job = json.loads(line)
        try: run(job, deadline)
        except Exception as error:
            import traceback; say(failed=job["name"], error=repr(error)[:500], tb=traceback.format_exc()[-1500:])

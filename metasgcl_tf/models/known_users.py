"""What the models share that give each user of the training log a vector."""

from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import require
from metasgcl_tf.models.base import SequentialRecommender


def adapt_users(model: SequentialRecommender, split: Split) -> None:
    """Gives `model.users`, a `UserEmbedding`, a row for each user of a log.

    A model that has that many users already keeps their vectors.

    Raises:
        InputError: the model is compiled for another number of users; its optimizer would not fit.
    """
    num_users = split.log.num_users
    if num_users == model.config["num_users"]:
        return
    before = f"of {model.config['num_users']} users, as the compiled model is (adapt it before compile)"
    require(not model.compiled, "split", before, f"{num_users} users")
    model.users.resize(num_users)
    model.config["num_users"] = num_users
    model.forget_compiled()

"""From a log file to tf.data batches."""

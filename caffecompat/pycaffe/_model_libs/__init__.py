"""The builders of `caffe.model_libs`, one file per family."""

"""The builders that scripts know as `caffe.model_libs`, one file per family; the zoo's nets are built of them too."""

"""Making databases of pictures with boxes: AnnotatedDatums of annotations in many formats."""

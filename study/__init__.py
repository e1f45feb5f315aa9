"""The mathematics as exercises: functions of this project with their bodies taken out, and judges that know no answer.

    python -m study list               the road, twelve steps
    python -m study conv2d_backward    writes conv2d_backward.py; the next time, judges it

road.py has the steps, source.py takes the exercises out of the code that runs, judges/ has what is asked of each, by
the methods of minivgg.gradcheck. child.py runs a learner's code where it can do no harm to the program.
"""

import minivgg_style

minivgg_style.claim("minivgg")

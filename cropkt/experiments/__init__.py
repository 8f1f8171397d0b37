"""Where and when things run: Ray Train, Ray Tune, MLflow. Nothing below this floor knows them, and nothing here adds
to the science.
"""

"""The feed port: one process that takes the prefectures' notifications into the register."""

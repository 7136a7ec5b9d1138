rootProject.name = "answer"
